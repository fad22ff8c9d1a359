"""Foreign text is made harmless, and numbers are said as people say them."""

from __future__ import annotations

import io

import pytest

from builder.core.text import clean, clean_lines, columns, counted, duration, size
from builder.report.streams import write_line


@pytest.mark.parametrize(
    ("raw", "shown"),
    [
        ("plain text", "plain text"),
        ("größer ✓", "größer ✓"),
        ("[red]not markup[/red]", "[red]not markup[/red]"),
        ("\x1b[31mred\x1b[0m", "red"),
        ("\x1b[2J\x1b[1;1Hgone", "gone"),
        ("\x9b31mred", "red"),
        ("\x1b]0;a title\x07text", "text"),
        ("\x1b]8;;http://x\x1b\\link\x1b]8;;\x1b\\", "link"),
        ("\x1b]0;never ended", ""),
        ("\x1bPq#0\x1b\\text", "text"),
        ("\x1b(Btext\x1b", "text"),
        ("10%\r50%\r100%", "100%"),
        ("done\r\n", "done"),
        ("a\tb", "a       b"),
        ("two\nlines", "two lines"),
        ("bell\x07 null\x00 back\x08", "bell null back"),
        ("\u202egnp.exe\u202c", "gnp.exe"),
        ("zero\u200bwidth", "zerowidth"),
        ("no\u00a0break\u2028line", "no break line"),
        ("bad byte \udcff", "bad byte \ufffd"),
    ],
)
def test_only_what_can_be_read_is_left_of_a_line(raw: str, shown: str) -> None:
    assert clean(raw) == shown
    assert clean(shown) == shown


def test_lines_are_cleaned_one_by_one() -> None:
    assert clean_lines("a\x1b[1m\n  b\rc\n\n") == ["a", "c"]


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (-1, "0.0 s"),
        (0, "0.0 s"),
        (4.23, "4.2 s"),
        (9.94, "9.9 s"),
        (9.96, "10 s"),
        (41.4, "41 s"),
        (59.6, "1 min 00 s"),
        (80, "1 min 20 s"),
        (3599.7, "1 h 00 min"),
        (7384, "2 h 03 min"),
    ],
)
def test_a_duration_as_a_person_says_it(seconds: float, said: str) -> None:
    assert duration(seconds) == said


@pytest.mark.parametrize(
    ("count", "said"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1200, "1.2 kB"),
        (999_949, "999.9 kB"),
        (999_960, "1.0 MB"),
        (120_300_000, "120.3 MB"),
        (5_000_000_000, "5.0 GB"),
        (7_000_000_000_000_000, "7000.0 TB"),
    ],
)
def test_a_size_in_decimal_units(count: int, said: str) -> None:
    assert size(count) == said


def test_one_and_many() -> None:
    assert counted(1, "image") == "1 image"
    assert counted(2, "image") == "2 images"
    assert counted(0, "image") == "0 images"


def test_columns_are_aligned_without_trailing_blanks() -> None:
    assert columns([("name", "time", ""), ("x", "1 s", "")], right=(1,)) == [
        "name  time",
        "x      1 s",
    ]


def test_a_stream_that_lacks_a_character_gets_a_replacement() -> None:
    buffer = io.BytesIO()
    stream = io.TextIOWrapper(buffer, encoding="ascii")
    write_line(stream, "größe ✓")
    assert buffer.getvalue() == b"gr??e ?\n"
