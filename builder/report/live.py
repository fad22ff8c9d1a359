"""What is redrawn in place: a run, with what failed above it, and tables.

rich is imported here alone; who has nothing to draw does not import this module.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from typing import TextIO

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from builder.core.events import (
    Event,
    Failed,
    Note,
    Report,
    RunFinished,
    RunStarted,
    StepFinished,
    StepRetried,
)
from builder.core.run_text import RunLines, RunProgress, advance, progress_text, summary_text
from builder.core.text import Draw, TableLine, clean, duration
from builder.system.resources import Clock

_BAR_WIDTH = 24
_DRAWN_PER_SECOND = 4


@contextlib.contextmanager
def open_live(
    stream: TextIO, *, clock: Clock, environ: Mapping[str, str], expected: Mapping[str, float]
) -> Iterator[Report]:
    """A live report; the terminal is left in order however the run ends."""
    console = Console(file=stream, _environ=environ)
    report = _LiveReport(console, RunProgress(expected=expected))
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


def render(progress: RunProgress, now: float, width: int) -> RenderableType:
    """The display at one moment."""
    if progress.plan is None:
        return Text("")
    return Group(_running(progress, now, width), _overall(progress, now, width))


def _running(progress: RunProgress, now: float, width: int) -> Table:
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


def _overall(progress: RunProgress, now: float, width: int) -> Table:

    line = Table.grid(padding=(0, 2, 0, 0))
    line.width = width
    line.add_column(width=_BAR_WIDTH)
    line.add_column(no_wrap=True, overflow="ellipsis", ratio=1)
    bar = ProgressBar(total=max(1, len(progress.steps)), completed=len(progress.ended))
    line.add_row(bar, Text(progress_text(progress, now)))
    return line


class _LiveReport:
    """Keeps the state that is drawn; what must not be drawn over is printed above."""

    def __init__(self, console: Console, progress: RunProgress) -> None:
        # Drawn by rich's own thread: it is replaced as a whole and never changed, so the thread
        # sees the old state or the new one and needs no lock.
        self.progress = progress
        self._console = console
        self._lines = RunLines()

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

        if text is not None:
            # A Text, because in a str "[red]" would be markup; its style is its own, because one of
            # `print` would colour the display below as well. The terminal wraps long lines itself,
            # so that they can be copied in one piece.
            self._console.print(Text(text, style=style), soft_wrap=True)


# --- tables -----------------------------------------------------------------------------------


@contextlib.contextmanager
def open_table(
    stream: TextIO, columns: Sequence[str], *, environ: Mapping[str, str]
) -> Iterator[Draw]:
    """What draws the lines and a text below them; what it drew last stays."""
    console = Console(file=stream, _environ=environ)
    # It is drawn when there is something new, and not between.
    with Live(console=console, auto_refresh=False, vertical_overflow="crop") as display:

        def draw(lines: Sequence[TableLine], below: str) -> None:
            shown, left_out = _fitting(lines, console.height)
            more = f"{left_out} more lines; " if left_out else ""
            display.update(render_table(columns, shown, f"{more}{below}"), refresh=True)

        yield draw


def render_table(columns: Sequence[str], lines: Sequence[TableLine], below: str) -> RenderableType:
    """The table at one moment."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column, no_wrap=True, overflow="ellipsis")
    for line in lines:
        table.add_row(*(Text(clean(cell), style=line.style) for cell in line.cells))
    return Group(table, Text(f"\n{clean(below)}", style="dim"))


def _fitting(lines: Sequence[TableLine], height: int) -> tuple[list[TableLine], int]:
    """What a terminal of this height can show: what is urgent comes first, order is kept."""
    # The head of the table, the line below with the blank one before it, and the cursor's.
    room = max(1, height - 4)
    if len(lines) <= room:
        return list(lines), 0
    wanted = sorted(range(len(lines)), key=lambda at: (not lines[at].urgent, at))[:room]
    return [lines[at] for at in sorted(wanted)], len(lines) - room
