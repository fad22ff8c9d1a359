"""A table that is drawn anew in place on a terminal, as often as somebody has news.

rich is imported only when a table is opened.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, TextIO

from msgspec import Struct

from builder.report.text import clean

if TYPE_CHECKING:
    from rich.console import RenderableType


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
            display.update(render(columns, shown, f"{more}{below}"), refresh=True)

        yield draw


def render(columns: Sequence[str], lines: Sequence[Line], below: str) -> RenderableType:
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
