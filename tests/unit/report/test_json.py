"""What scripts read: the report file and the lines of --progress json."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from msgspec.structs import replace

from builder.core import events
from builder.core.errors import OcbuildError
from builder.core.events import Outcome, StepFinished, StepId, StepOutput
from builder.core.run_json import event_json, report_json
from builder.report.files import write_failure, write_report
from builder.report.streams import JsonLinesReport
from tests.support.story import BUILD, EVENTS, SUMMARY

KEYS = [
    "run_id",
    "commit",
    "dirty",
    "status",
    "started",
    "seconds",
    "bound_seconds",
    "release",
    "images",
]


def test_the_report_has_the_keys_of_the_contract_and_no_other() -> None:
    report = report_json(SUMMARY)
    assert list(report) == KEYS
    assert {key: report[key] for key in KEYS[:-1]} == {
        "run_id": "r1",
        "commit": "c0ffee",
        "dirty": False,
        "status": "failed",
        "started": "2023-11-14T22:13:20Z",
        "seconds": 54.0,
        "bound_seconds": 53.0,
        "release": None,
    }


def test_an_image_has_the_keys_of_the_contract_and_no_other(tmp_path: Path) -> None:
    path = tmp_path / "new" / "report.json"
    write_report(path, SUMMARY)
    images = json.loads(path.read_text())["images"]
    assert list(images) == ["common", "openstackbase", "nova", "nova-api", "nova-compute"]
    assert images["openstackbase"] == {
        "action": "build",
        "status": "ok",
        "reasons": ['selected by "all"'],
        "key": "openstackbase-key",
        "digest": "sha256:d1",
        "refs": [],
        "seconds": 41,
        "size": 120_300_000,
        "pushed_bytes": 64_000_000,
        "log": "logs/openstackbase.log",
        "error": None,
        "blocked_by": None,
    }
    assert images["nova"]["status"] == "failed"
    assert images["nova"]["error"] == (
        "openstack/nova/Dockerfile:9: RUN apt-get install nvoa: failed with exit code 100"
    )
    assert images["nova-api"]["status"] == "blocked"
    assert images["nova-api"]["blocked_by"] == "nova"


def test_the_report_replaces_an_older_one_and_leaves_nothing_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    path.write_text("an older and much longer report" * 1000)
    write_report(path, SUMMARY)
    assert json.loads(path.read_text())["run_id"] == "r1"
    assert list(tmp_path.iterdir()) == [path]


def test_a_run_that_came_to_nothing_leaves_a_report_too(tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    write_failure(path, status="failed", message='build.toml:3: unknown key "x"')
    report = json.loads(path.read_text())
    assert [key for key in report if key != "error"] == KEYS
    assert report["status"] == "failed"
    assert report["images"] == {}
    assert report["error"] == 'build.toml:3: unknown key "x"'


def test_a_report_that_cannot_be_written_is_an_error_with_a_remedy(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OcbuildError, match=r"cannot write the report .*file/report\.json") as error:
        write_report(tmp_path / "file" / "report.json", SUMMARY)
    assert error.value.hint is not None


def test_every_event_is_one_line_of_json() -> None:
    stream = io.StringIO()
    report = JsonLinesReport(stream)
    for event in EVENTS:
        report(event)
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert len(lines) == len(EVENTS)
    assert [line["event"] for line in lines[:3]] == ["run_started", "step_started", "step_finished"]
    assert lines[2]["step"] == {"phase": "build", "image": "common"}
    assert lines[2]["outcome"] == {"kind": "reused", "reference": "reg/ns/common:1"}
    assert lines[0]["plan"]["steps"][1]["image"] == "openstackbase"
    assert lines[-1]["event"] == "run_finished"
    assert lines[-1]["summary"] == json.loads(json.dumps(report_json(SUMMARY)))
    failures = [line for line in lines if line.get("outcome", {}).get("kind") == "failed"]
    assert [line["outcome"]["where"] for line in failures] == ["openstack/nova/Dockerfile:9"]


def test_events_and_report_are_written_as_they_were_recorded() -> None:
    stream = io.StringIO()
    report = JsonLinesReport(stream)
    step = StepId(BUILD, "näva")
    outcomes: list[Outcome] = [
        events.Built(image_id="i", size=3, engine="x"),
        events.Tested(commands=2),
        events.Pushed(digest="sha256:a", uploaded=3),
        events.Claimed(),
        events.Tagged(references=("a", "b")),
        events.Blocked(by="x"),
        events.Interrupted(),
    ]
    for event in EVENTS:
        report(event)
    for outcome in outcomes:
        report(StepFinished(step=step, outcome=outcome, seconds=1.5, at=2.0))
    written = stream.getvalue() + json.dumps(report_json(SUMMARY), indent=2) + "\n"
    assert written == (Path(__file__).parent / "golden_events.jsonl").read_text()


def test_bytes_that_are_no_text_do_not_break_the_line() -> None:
    stream = io.StringIO()
    event = StepOutput(step=StepId(BUILD, "nova"), line="\udcff\n\x1b[0m")
    JsonLinesReport(stream)(event)
    assert stream.getvalue().isascii()
    assert json.loads(stream.getvalue())["line"] == event_json(event)["line"] == "\udcff\n\x1b[0m"


def test_an_unknown_commit_is_null() -> None:
    assert report_json(replace(SUMMARY, commit=""))["commit"] is None
