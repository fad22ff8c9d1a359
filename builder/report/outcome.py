"""An outcome in words: the one place that says what each of them is called."""

from __future__ import annotations

from builder.core.events import (
    Blocked,
    Built,
    Claimed,
    Failed,
    Interrupted,
    Outcome,
    Pushed,
    Reused,
    Tagged,
    Tested,
)
from builder.report.text import clean, counted, size


def outcome_text(outcome: Outcome) -> str:  # noqa: C901, PLR0911 - one return for each outcome
    """One clean line; a failure in capitals, so that it is found without colour."""
    match outcome:
        case Built(cached=True):
            return "ok, nothing had to run"
        case Built():
            return "ok"
        case Reused():
            return "unchanged"
        case Tested():
            return f"ok, {counted(outcome.commands, 'command')}"
        case Pushed():
            return f"ok, {size(outcome.uploaded)} uploaded"
        case Claimed():
            return "ok, nobody else publishes"
        case Tagged():
            return f"ok, {clean(', '.join(outcome.references))}"
        case Failed():
            return f"FAILED: {failure_line(outcome)}"
        case Blocked():
            return f"blocked by {clean(outcome.by)}"
        case Interrupted():
            return "interrupted"


def failure_line(failed: Failed) -> str:
    """``path:line: message`` on one line."""
    message = clean(failed.message.strip())
    return f"{clean(str(failed.where))}: {message}" if failed.where else message
