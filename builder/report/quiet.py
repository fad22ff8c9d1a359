"""Says nothing but failures and the last line."""

from __future__ import annotations

from typing import TextIO

from builder.core.events import Event, Failed, RunFinished, StepFinished
from builder.report.outcome import outcome_text
from builder.report.summary_text import last_line
from builder.report.text import write_line


class QuietReport:
    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def __call__(self, event: Event) -> None:
        if isinstance(event, StepFinished) and isinstance(event.outcome, Failed):
            write_line(self._stream, f"{event.step}  {outcome_text(event.outcome)}")
        elif isinstance(event, RunFinished):
            write_line(self._stream, last_line(event.summary))
