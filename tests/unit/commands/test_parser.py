"""What users see of the command line: its help and its mistakes, as they were recorded."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

import pytest

from builder.commands.parser import parse, report_path
from builder.core.errors import OcbuildError

GOLDEN = Path(__file__).parent / "golden"
# Others put it into other words and lines.
RECORDED_WITH = (3, 11)
pytestmark = pytest.mark.skipif(
    sys.version_info[:2] != RECORDED_WITH, reason="argparse's own words are of Python 3.11"
)


def recorded(name: str) -> dict[str, str]:
    """By command line what it prints."""
    parts = f"\n{(GOLDEN / name).read_text()}".split("\n$ ocbuild ")[1:]
    pairs = (part.partition("\n") for part in parts)
    return {line: text.strip("\n") for line, _, text in pairs}


HELP, MISTAKES = recorded("help.txt"), recorded("mistakes.txt")


@pytest.mark.parametrize("line", HELP)
def test_help_is_as_it_was(
    line: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    with pytest.raises(SystemExit) as ended:
        parse(shlex.split(line))
    assert ended.value.code == 0
    assert capsys.readouterr().out.strip("\n") == HELP[line]


@pytest.mark.parametrize("line", MISTAKES)
def test_a_mistake_is_told_as_it_was(line: str) -> None:
    with pytest.raises(OcbuildError) as refused:
        parse(shlex.split(line))({})
    assert refused.value.exit_code == 2
    assert str(refused.value).strip("\n") == MISTAKES[line]


@pytest.mark.parametrize(
    ("line", "path"),
    [
        ("all --report r.json --nonsense", "r.json"),
        ("all --report=r.json --jobs x", "r.json"),
        ("--report r.json", "r.json"),
        ("plan --reports r.json", None),
        ("all --report", None),
        ("all", None),
    ],
)
def test_the_report_is_found_in_any_line(line: str, path: str | None) -> None:
    assert report_path(shlex.split(line)) == (None if path is None else Path(path))
