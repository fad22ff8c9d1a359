"""One line per event, for logs of CI systems and for people without a terminal."""

from __future__ import annotations

from typing import TextIO

from builder.core.events import (
    Event,
    Note,
    RunFinished,
    RunStarted,
    StepFinished,
    StepId,
    StepOutput,
    StepProgress,
    StepRetried,
    StepStarted,
)
from builder.report.lines import Lines
from builder.report.summary_text import summary_text
from builder.report.text import write_line


class PlainReport:
    """Output of a step is shown only if the step failed, at the end; the log files have it all."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._lines = Lines()
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
