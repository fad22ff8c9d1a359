"""Words and numbers for people, foreign text made harmless for a terminal, TOML's quotes, times."""

from __future__ import annotations

import codecs
import re
from collections.abc import Callable, Collection, Sequence
from datetime import datetime, timezone

from msgspec import Struct

_LONGEST_LINE = 1024 * 1024

_ESCAPE = re.compile(
    r"(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]"  # CSI: colours, cursor
    r"|(?:\x1b[\]PX^_]|[\x90\x98\x9d-\x9f]).*?(?:\x07|\x1b\\|\x9c|$)"  # OSC, DCS: titles, links
    r"|\x1b[ -/]*[0-~]?"
)


def clean(text: str) -> str:
    """One line without anything that a terminal would obey: what it would show, and no more.

    Of a line that was drawn over by carriage returns, the last state is kept.
    """
    if text.isascii() and text.isprintable():
        return text
    text = _ESCAPE.sub("", text).rstrip("\r\n").expandtabs()
    text = text.rpartition("\r")[2].replace("\n", " ")
    return "".join(map(_harmless, text))


def clean_lines(text: str) -> list[str]:
    """The lines of a longer text, each of them clean; no blank ones at the end."""
    return [clean(line) for line in text.rstrip().split("\n")]


def _harmless(character: str) -> str:
    if character.isprintable():
        return character
    if character.isspace():
        return " "
    # Lone surrogates stand for bytes that were no UTF-8.
    return "\ufffd" if "\ud800" <= character <= "\udfff" else ""


def duration(seconds: float) -> str:
    """As a person would say it: 4.2 s, 41 s, 1 min 20 s, 1 h 02 min."""
    # A clock that was set back must not make a step take less than no time.
    seconds = max(0.0, seconds)
    if seconds < 9.95:  # noqa: PLR2004 - from here on it would be rounded to 10.0
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes == 0:
        return f"{rest} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min {rest:02} s"


def size(count: int) -> str:
    """Bytes in decimal units: 999 B, 1.2 kB, 120.3 MB."""
    if count < 1000:  # noqa: PLR2004 - the step between decimal units
        return f"{count} B"
    value = float(count)
    for unit in ("kB", "MB", "GB"):
        value /= 1000
        if value < 999.95:  # noqa: PLR2004 - from here on it would be rounded to 1000.0
            return f"{value:.1f} {unit}"
    return f"{value / 1000:.1f} TB"


def counted(number: int, one: str) -> str:
    """Say "1 step", "2 steps"."""
    return f"{number} {one if number == 1 else one + 's'}"


class TableLine(Struct, frozen=True):
    """The cells of one line, and its style: "" or one of rich's.

    ``urgent`` ones are shown where not all can be.
    """

    cells: tuple[str, ...]
    style: str = ""
    urgent: bool = False


# Draws these lines, and a text below them.
Draw = Callable[[Sequence[TableLine], str], None]


def columns(rows: Sequence[Sequence[str]], *, right: Collection[int] = ()) -> list[str]:
    """The rows as lines of aligned cells, two spaces apart; ``right`` are aligned to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            cell.rjust(width) if place in right else cell.ljust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]


def quoted_key(key: str) -> str:
    """The key as TOML writes it: bare where that is allowed."""
    if key and all(char.isascii() and (char.isalnum() or char in "_-") for char in key):
        return key
    return quoted(key)


def quoted(text: str) -> str:
    """The text as a TOML string on one line."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return '"' + "".join(c if c.isprintable() else f"\\U{ord(c):08x}" for c in escaped) + '"'


class LineSplitter:
    """A sink that turns chunks of bytes into lines of text; ``end`` gives up the last one."""

    def __init__(self, on_line: Callable[[str], None]) -> None:
        self._on_line = on_line
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._rest = ""

    def __call__(self, chunk: bytes) -> None:
        text = self._rest + self._decoder.decode(chunk)
        *lines, self._rest = text.split("\n")
        for line in lines:
            self._on_line(line.removesuffix("\r"))
        if len(self._rest) > _LONGEST_LINE:
            self._on_line(self._rest)
            self._rest = ""

    def end(self) -> None:
        rest = self._rest + self._decoder.decode(b"", final=True)
        self._rest = ""
        if rest:
            self._on_line(rest.removesuffix("\r"))


def moment(text: str) -> datetime | None:
    """RFC 3339 text as a moment; None for anything else, and for the year 1 of no date at all.

    https://www.rfc-editor.org/rfc/rfc3339#section-5.6
    """
    # Python 3.10 reads neither the Z nor nanoseconds.
    plain = re.sub(r"(\.\d{1,6})\d*", r"\1", text.strip()).replace("Z", "+00:00")
    plain = re.sub(r"\.(\d+)", lambda part: f".{part[1]:0<6}", plain)
    try:
        at = datetime.fromisoformat(plain)
    except ValueError:
        return None
    at = at if at.tzinfo else at.replace(tzinfo=timezone.utc)
    return at if at.year > 1 else None
