"""The reports that go to a stream, and which of them ``--progress`` asks for."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager
from typing import TextIO

from builder.core.events import (
    Event,
    Failed,
    Note,
    Report,
    RunFinished,
    RunStarted,
    StepFinished,
    StepId,
    StepOutput,
    StepProgress,
    StepRetried,
    StepStarted,
)
from builder.core.run_json import event_json
from builder.core.run_text import RunLines, last_line, outcome_text, summary_text
from builder.core.text import clean
from builder.system.resources import Clock


def open_progress(
    mode: str,
    stream: TextIO,
    *,
    environ: Mapping[str, str],
    clock: Clock,
    expected: Mapping[str, float],
) -> AbstractContextManager[Report]:
    """The report for ``mode``: auto, live, plain, json or quiet. It has to be closed at the end.

    ``expected`` are seconds per image, from which the live report estimates what is left.
    """
    chosen = mode_for(mode, stream, environ)
    if chosen == "live":
        from builder.report.live import open_live  # noqa: PLC0415 - rich: 50 ms

        return open_live(stream, clock=clock, environ=environ, expected=expected)
    if chosen == "json":
        return contextlib.nullcontext(JsonLinesReport(stream))
    if chosen == "quiet":
        return contextlib.nullcontext(QuietReport(stream))
    return contextlib.nullcontext(PlainReport(stream))


def mode_for(mode: str, stream: TextIO, environ: Mapping[str, str]) -> str:
    """What ``auto`` means here; and plain instead of live where nothing can be redrawn."""
    if mode not in ("auto", "live"):
        return mode
    if not _can_redraw(stream, environ):
        return "plain"
    # Wherever one of these is set, somebody will read the output as a text.
    unwanted = environ.get("CI") or environ.get("NO_COLOR")
    return "plain" if mode == "auto" and unwanted else "live"


def _can_redraw(stream: TextIO, environ: Mapping[str, str]) -> bool:
    terminal = environ.get("TERM", "dumb") not in ("", "dumb", "unknown")
    encoding = (stream.encoding or "").lower().replace("-", "")
    return stream.isatty() and terminal and encoding == "utf8"


def fanout(*reports: Report) -> Report:
    """Tell all of them, in order; one that raises is a bug, so nothing is caught."""

    def report(event: Event) -> None:
        for each in reports:
            each(event)

    return report


class PlainReport:
    """Output of a step is shown only if the step failed, at the end; the log files have it all."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._lines = RunLines()
        self._running: set[StepId] = set()

    def __call__(self, event: Event) -> None:
        text = self._text(event)
        if text is not None:
            write_line(self._stream, text)

    def _text(self, event: Event) -> str | None:  # noqa: PLR0911 - one return for each event
        match event:
            case RunStarted():
                return self._lines.run_started(event)
            case StepStarted():
                self._running.add(event.step)
                return self._lines.step_started(event)
            case StepProgress() | StepOutput():
                return None
            case StepRetried():
                return self._lines.step_retried(event)
            case StepFinished():
                started = event.step in self._running
                self._running.discard(event.step)
                return self._lines.step_finished(event, started=started)
            case Note():
                return self._lines.note(event)
            case RunFinished():
                return f"\n{summary_text(event.summary)}"


class QuietReport:
    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def __call__(self, event: Event) -> None:
        if isinstance(event, StepFinished) and isinstance(event.outcome, Failed):
            write_line(self._stream, f"{event.step}  {outcome_text(event.outcome)}")
        elif isinstance(event, RunFinished):
            write_line(self._stream, last_line(event.summary))


class JsonLinesReport:
    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def __call__(self, event: Event) -> None:
        write_line(self._stream, json.dumps(event_json(event)))


def write_line(stream: TextIO, line: str) -> None:
    """Write and flush one line; what the stream's encoding lacks is replaced."""
    encoding = stream.encoding or "utf-8"
    stream.write(line.encode(encoding, "replace").decode(encoding) + "\n")
    stream.flush()


def print_json(value: object) -> None:
    """Write a document for scripts to standard output."""
    sys.stdout.write(json.dumps(value, indent=2) + "\n")


def tell(text: str) -> None:
    """Write to standard error what a person should know while a command is at work."""
    sys.stderr.write(f"{text}\n")


def print_lines(lines: Iterable[str]) -> None:
    """Write lines to standard output; foreign text in them is made harmless."""
    sys.stdout.write("".join(f"{clean(line)}\n" for line in lines))
