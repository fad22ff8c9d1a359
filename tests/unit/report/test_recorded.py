"""A report, shown after its run has ended."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from builder.commands.inspect import report
from builder.core.codec import convert
from builder.core.errors import UsageError
from builder.core.options import ReportOptions, TreeOptions
from builder.core.run_json import RunReport, report_json, report_text
from builder.report.files import write_failure
from builder.tree.read import LAST_REPORT
from tests.support.story import SUMMARY
from tests.support.tree import Tree


def shown_text(document: object, *, bad_only: bool = False) -> str:
    return report_text(convert(document, RunReport, what="it"), bad_only=bad_only)


def test_every_image_has_a_row_and_every_failure_a_reason() -> None:
    found = report_json(SUMMARY)
    shown = shown_text(found)
    images = found["images"]
    assert isinstance(images, dict)
    for name, one in images.items():
        (row,) = [line for line in shown.splitlines() if line.split()[:1] == [name]]
        assert one["action"] in row
        if one["error"]:
            assert "FAILED" in row
            assert f"{name}: {one['error']}" in shown
    assert f"run {found['run_id']}" in shown


def test_only_what_did_not_succeed_can_be_shown() -> None:
    found = report_json(SUMMARY)
    images = found["images"]
    assert isinstance(images, dict)
    rows = [
        line.split()[0] for line in shown_text(found, bad_only=True).splitlines() if line.strip()
    ]
    good = {name for name, one in images.items() if one["status"] == "ok"}
    assert good
    assert not good.intersection(rows)


def test_a_run_that_came_to_nothing_says_why(tmp_path: Path) -> None:
    file = tmp_path / "report.json"
    write_failure(file, status="failed", message="build.toml:3: it is wrong\n\nhint: mend it")
    shown = shown_text(json.loads(file.read_text()))
    assert "build.toml:3: it is wrong" in shown
    assert "hint: mend it" in shown
    assert shown.endswith("failed: 0 images")


def test_what_an_image_printed_does_not_reach_the_terminal_as_it_is() -> None:
    one = {"status": "failed", "action": "build", "error": "a\x1b[2Jb"}
    assert "x: ab" in shown_text({"status": "failed", "images": {"x": one}})


def test_the_last_report_of_the_tree_is_the_default(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    tree = Tree(tmp_path / "tree")
    (tree.root / "deeper").mkdir()
    monkeypatch.chdir(tree.root / "deeper")
    with pytest.raises(UsageError, match="nothing was built"):
        report(TreeOptions(), ReportOptions(), {})
    tree.write(str(LAST_REPORT), json.dumps(report_json(SUMMARY)))
    assert report(TreeOptions(), ReportOptions(as_json=True), {}) == 0
    assert json.loads(capsys.readouterr().out) == json.loads(json.dumps(report_json(SUMMARY)))
    assert report(TreeOptions(), ReportOptions(failed=True, as_json=True), {}) == 0
    shown = json.loads(capsys.readouterr().out)["images"]
    assert shown
    assert "ok" not in {one["status"] for one in shown.values()}


def test_a_message_with_bytes_that_are_no_text_can_be_read_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "report.json"
    write_failure(file, status="failed", message="no such folder: \udcff")
    assert report(TreeOptions(), ReportOptions(file=file), {}) == 0
    assert "no such folder: \ufffd" in capsys.readouterr().out


@pytest.mark.parametrize(
    "content", ["", "[]", "{}", "[" * 100_000, '{"images": 3}', '{"images": {"x": 1}}']
)
def test_what_is_no_report_is_refused(tmp_path: Path, content: str) -> None:
    file = tmp_path / "other.json"
    file.write_text(content)
    with pytest.raises(UsageError, match="no report of ocbuild"):
        report(TreeOptions(), ReportOptions(file=file), {})
