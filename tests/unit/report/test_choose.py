"""Which report a stream gets."""

from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path

import pytest

from builder.core.events import Note
from builder.report.streams import mode_for, open_progress
from tests.support.clock import FakeClock


class Stream(io.StringIO):
    def __init__(self, *, tty: bool, encoding: str = "utf-8") -> None:
        super().__init__()
        self._tty = tty
        self._encoding = encoding

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return self._encoding

    def isatty(self) -> bool:
        return self._tty


XTERM = {"TERM": "xterm-256color"}


@pytest.mark.parametrize(
    ("mode", "tty", "environ", "chosen"),
    [
        ("auto", True, XTERM, "live"),
        ("auto", False, XTERM, "plain"),
        ("auto", True, {}, "plain"),
        ("auto", True, {"TERM": "dumb"}, "plain"),
        ("auto", True, {**XTERM, "CI": "true"}, "plain"),
        ("auto", True, {**XTERM, "CI": ""}, "live"),
        ("auto", True, {**XTERM, "NO_COLOR": "1"}, "plain"),
        ("live", True, {**XTERM, "NO_COLOR": "1", "CI": "true"}, "live"),
        ("live", False, XTERM, "plain"),
        ("plain", True, XTERM, "plain"),
        ("json", True, XTERM, "json"),
        ("quiet", True, XTERM, "quiet"),
    ],
)
def test_auto_is_live_only_where_a_person_watches(
    mode: str,
    tty: bool,  # noqa: FBT001 - a column of the table
    environ: dict[str, str],
    chosen: str,
) -> None:
    assert mode_for(mode, Stream(tty=tty), environ) == chosen


def test_a_terminal_that_cannot_draw_the_display_gets_plain_lines() -> None:
    assert mode_for("auto", Stream(tty=True, encoding="latin-1"), XTERM) == "plain"


@pytest.mark.parametrize(
    ("mode", "written"),
    [
        ("plain", "note: hello\n"),
        ("json", '{"event": "note", "text": "hello"}\n'),
        ("quiet", ""),
    ],
)
def test_the_chosen_report_writes_to_the_stream(mode: str, written: str) -> None:
    stream = Stream(tty=False)
    with open_progress(mode, stream, environ={}, clock=FakeClock(), expected={}) as report:
        report(Note(text="hello"))
    assert stream.getvalue() == written


def test_live_writes_to_the_stream_and_hides_the_cursor_meanwhile() -> None:
    stream = Stream(tty=True)
    with open_progress("live", stream, environ=XTERM, clock=FakeClock(), expected={}) as report:
        report(Note(text="hello"))
    assert "note: hello" in stream.getvalue()
    assert "\x1b[?25l" in stream.getvalue()


def test_rich_is_not_imported_before_a_live_report_is_opened() -> None:
    code = "import sys, builder.report.streams; sys.exit('rich' in sys.modules)"
    root = Path(__file__).parents[3]
    assert subprocess.run([sys.executable, "-c", code], cwd=root, check=False).returncode == 0
