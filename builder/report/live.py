"""What is redrawn in place: a run, with what failed above it, and tables.

rich is imported here alone, and only when something is to be drawn.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, TextIO

from msgspec import Struct

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
from builder.core.progress import RunProgress, advance, remaining
from builder.core.run_text import RunLines, summary_text
from builder.core.text import clean, duration
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
    from rich.console import Group  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    if progress.plan is None:
        return Text("")
    return Group(_running(progress, now, width), _overall(progress, now, width))


def _running(progress: RunProgress, now: float, width: int) -> Table:
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


def _overall(progress: RunProgress, now: float, width: int) -> Table:
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


def _overall_text(progress: RunProgress, now: float) -> str:
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
        from rich.text import Text  # noqa: PLC0415

        if text is not None:
            # A Text, because in a str "[red]" would be markup; its style is its own, because one of
            # `print` would colour the display below as well. The terminal wraps long lines itself,
            # so that they can be copied in one piece.
            self._console.print(Text(text, style=style), soft_wrap=True)


# --- tables -----------------------------------------------------------------------------------


class Line(Struct, frozen=True):
    """The cells of one line, and its style: "" or one of rich's.

    ``urgent`` ones are shown where not all can be.
    """

    cells: tuple[str, ...]
    style: str = ""
    urgent: bool = False


Draw = Callable[[Sequence[Line], str], None]


@contextlib.contextmanager
def open_table(
    stream: TextIO, columns: Sequence[str], *, environ: Mapping[str, str]
) -> Iterator[Draw]:
    """What draws the lines and a text below them; what it drew last stays."""
    from rich.console import Console  # noqa: PLC0415 - slow, and only needed here
    from rich.live import Live  # noqa: PLC0415

    console = Console(file=stream, _environ=environ)
    # It is drawn when there is something new, and not between.
    with Live(console=console, auto_refresh=False, vertical_overflow="crop") as display:

        def draw(lines: Sequence[Line], below: str) -> None:
            shown, left_out = _fitting(lines, console.height)
            more = f"{left_out} more lines; " if left_out else ""
            display.update(render_table(columns, shown, f"{more}{below}"), refresh=True)

        yield draw


def render_table(columns: Sequence[str], lines: Sequence[Line], below: str) -> RenderableType:
    """The table at one moment."""
    from rich.console import Group  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column, no_wrap=True, overflow="ellipsis")
    for line in lines:
        table.add_row(*(Text(clean(cell), style=line.style) for cell in line.cells))
    return Group(table, Text(f"\n{clean(below)}", style="dim"))


def _fitting(lines: Sequence[Line], height: int) -> tuple[list[Line], int]:
    """What a terminal of this height can show: what is urgent comes first, order is kept."""
    # The head of the table, the line below with the blank one before it, and the cursor's.
    room = max(1, height - 4)
    if len(lines) <= room:
        return list(lines), 0
    wanted = sorted(range(len(lines)), key=lambda at: (not lines[at].urgent, at))[:room]
    return [lines[at] for at in sorted(wanted)], len(lines) - room
