"""A display that is redrawn in place: what runs now, how far the run is, and above it what failed.

rich is imported here alone, and only when a live report is opened.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, TextIO

from builder.core.events import (
    Blocked,
    Event,
    Failed,
    Interrupted,
    Note,
    Phase,
    Report,
    RunFinished,
    RunStarted,
    StepFinished,
    StepRetried,
)
from builder.report.lines import Lines
from builder.report.progress import Progress, advance, remaining
from builder.report.summary_text import summary_text
from builder.report.text import clean, duration
from builder.system.clock import Clock

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.table import Table

_BAR_WIDTH = 24
_DRAWN_PER_SECOND = 4
_DONE = {Phase.BUILD: "built", Phase.TEST: "tested", Phase.PUSH: "pushed", Phase.TAG: "tagged"}


@contextlib.contextmanager
def open_live(
    stream: TextIO, *, clock: Clock, environ: Mapping[str, str], expected: Mapping[str, float]
) -> Iterator[Report]:
    """A live report; the terminal is left in order however the run ends."""
    from rich.console import Console  # noqa: PLC0415 - slow, and only needed here
    from rich.live import Live  # noqa: PLC0415

    console = Console(file=stream, _environ=environ)
    report = _LiveReport(console, Progress(expected=expected))
    display = Live(
        console=console,
        get_renderable=lambda: render(report.progress, clock.now(), console.width),
        refresh_per_second=_DRAWN_PER_SECOND,
        transient=True,
        # Data goes to standard output; it must not be caught and drawn into the display.
        redirect_stdout=False,
        redirect_stderr=False,
    )
    with display:
        yield report


def render(progress: Progress, now: float, width: int) -> RenderableType:
    """The display at one moment."""
    from rich.console import Group  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    if progress.plan is None:
        return Text("")
    return Group(_running(progress, now, width), _overall(progress, now, width))


def _running(progress: Progress, now: float, width: int) -> Table:
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    table = Table.grid(padding=(0, 2, 0, 0))
    table.width = width
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True, overflow="ellipsis", max_width=max(12, width // 3))
    table.add_column(no_wrap=True, overflow="ellipsis", ratio=1)
    table.add_column(no_wrap=True, justify="right")
    for step, doing in progress.running.items():
        table.add_row(
            Text(step.phase.value),
            Text(clean(step.image)),
            Text(clean(doing.text)),
            Text(duration(now - doing.since)),
        )
    return table


def _overall(progress: Progress, now: float, width: int) -> Table:
    from rich.progress_bar import ProgressBar  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    line = Table.grid(padding=(0, 2, 0, 0))
    line.width = width
    line.add_column(width=_BAR_WIDTH)
    line.add_column(no_wrap=True, overflow="ellipsis", ratio=1)
    bar = ProgressBar(total=max(1, len(progress.steps)), completed=len(progress.ended))
    line.add_row(bar, Text(_overall_text(progress, now)))
    return line


def _overall_text(progress: Progress, now: float) -> str:
    ends = progress.ended.items()
    bad = (Failed, Blocked, Interrupted)
    total = Counter(step.phase for step in progress.steps)
    done = Counter(step.phase for step, end in ends if not isinstance(end, bad))
    failed = {step.image for step, end in ends if isinstance(end, Failed)}
    blocked = {s.image for s, end in ends if isinstance(end, Blocked) and s.phase is Phase.BUILD}
    left = remaining(progress, now)
    parts = [
        *(f"{done[phase]}/{total[phase]} {word}" for phase, word in _DONE.items() if total[phase]),
        f"{len(failed)} FAILED" if failed else "",
        f"{len(blocked)} blocked" if blocked else "",
        duration(now - progress.started),
        f"about {duration(left)} left" if left else "",
    ]
    return ", ".join(part for part in parts if part)


class _LiveReport:
    """Keeps the state that is drawn; what must not be drawn over is printed above."""

    def __init__(self, console: Console, progress: Progress) -> None:
        # Drawn by rich's own thread: it is replaced as a whole and never changed, so the thread
        # sees the old state or the new one and needs no lock.
        self.progress = progress
        self._console = console
        self._lines = Lines()

    def __call__(self, event: Event) -> None:
        self.progress = advance(self.progress, event)
        match event:
            case RunStarted():
                self._print(self._lines.run_started(event))
            case StepFinished() if isinstance(event.outcome, Failed):
                self._print(self._lines.step_finished(event, started=True), style="red")
            case StepRetried():
                self._print(self._lines.step_retried(event))
            case Note():
                self._print(self._lines.note(event))
            case RunFinished():
                self._print(f"\n{summary_text(event.summary)}")

    def _print(self, text: str | None, *, style: str = "") -> None:
        from rich.text import Text  # noqa: PLC0415

        if text is not None:
            # A Text, because in a str "[red]" would be markup; its style is its own, because one of
            # `print` would colour the display below as well. The terminal wraps long lines itself,
            # so that they can be copied in one piece.
            self._console.print(Text(text, style=style), soft_wrap=True)
