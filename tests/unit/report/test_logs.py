"""One log file per image, whatever images are called and whatever builds print."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pytest

from builder.core.errors import OcbuildError
from builder.core.events import Built, Event, Phase, StepId, StepOutput, Tested as WasTested
from builder.report.files import log_path, open_logs
from tests.support.story import BUILD, EVENTS, TEST, finished, started

NOVA = """\
== build nova, 2023-11-14T22:14:01Z
Reading package lists...
E: Unable to locate package \x1b[31mnvoa\x1b[0m [red]
== hint: no base has that package
== build nova: FAILED: openstack/nova/Dockerfile:9: \
RUN apt-get install nvoa: failed with exit code 100 after 12 s
"""
BUILT = Built(image_id="i", size=1, engine="e")


def logged(log_dir: Path, events: Iterable[Event]) -> dict[str, str]:
    with open_logs(log_dir) as report:
        for event in events:
            report(event)
    return {path.name: path.read_text() for path in sorted(log_dir.iterdir())}


def test_every_image_that_was_worked_on_has_a_log_with_all_its_output(tmp_path: Path) -> None:
    logs = logged(tmp_path / "new" / "run", EVENTS)
    assert list(logs) == ["common.log", "nova.log", "openstackbase.log"]
    assert logs["nova.log"] == NOVA
    assert "== attempt 1 failed: mirror: 503\n== again in 2.5 s\n" in logs["openstackbase.log"]


def test_the_steps_of_an_image_share_its_log(tmp_path: Path) -> None:
    logs = logged(
        tmp_path,
        [
            started(BUILD, "nova", 0),
            finished(BUILD, "nova", BUILT, 3),
            started(TEST, "nova", 3),
            StepOutput(step=StepId(TEST, "nova"), line="$ nova --version"),
            finished(TEST, "nova", WasTested(commands=1), 1),
        ],
    )
    assert logs == {
        "nova.log": "== build nova, 2023-11-14T22:13:20Z\n"
        "== build nova: ok after 3.0 s\n"
        "== test nova, 2023-11-14T22:13:23Z\n"
        "$ nova --version\n"
        "== test nova: ok, 1 command after 1.0 s\n"
    }


def test_a_log_of_an_earlier_run_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "nova.log").write_text("old")
    logs = logged(tmp_path, [started(BUILD, "nova", 0), finished(BUILD, "nova", BUILT, 3)])
    assert "old" not in logs["nova.log"]


def test_steps_of_one_image_that_run_at_once_lose_no_line(tmp_path: Path) -> None:
    push = StepId(Phase.PUSH, "nova")
    logs = logged(
        tmp_path,
        [
            started(TEST, "nova", 0),
            started(Phase.PUSH, "nova", 0),
            StepOutput(step=StepId(TEST, "nova"), line="from the test"),
            StepOutput(step=push, line="from the push"),
            StepOutput(step=StepId(TEST, "nova"), line="from the test again"),
        ],
    )
    lines = logs["nova.log"].splitlines()
    assert [line for line in lines if "from" in line] == [
        "from the test",
        "from the push",
        "from the test again",
    ]


def test_lines_can_be_read_while_the_step_still_runs(tmp_path: Path) -> None:
    with open_logs(tmp_path) as report:
        report(started(BUILD, "nova", 0))
        report(StepOutput(step=StepId(BUILD, "nova"), line="now"))
        assert (tmp_path / "nova.log").read_text().endswith("now\n")


def test_output_of_work_that_was_left_behind_is_dropped(tmp_path: Path) -> None:
    late = StepOutput(step=StepId(BUILD, "nova"), line="late")
    logs = logged(tmp_path, [started(BUILD, "nova", 0), finished(BUILD, "nova", BUILT, 3), late])
    assert "late" not in logs["nova.log"]


def test_bytes_that_are_no_text_are_kept_in_escaped_form(tmp_path: Path) -> None:
    line = StepOutput(step=StepId(BUILD, "nova"), line="\udcff")
    assert "\\udcff\n" in logged(tmp_path, [started(BUILD, "nova", 0), line])["nova.log"]


@pytest.mark.parametrize("image", ["../../etc/passwd", "a/b", ".hidden", "x" * 300, "a b", ".."])
def test_a_log_lies_in_the_log_folder_whatever_the_image_is_called(
    tmp_path: Path, image: str
) -> None:
    path = log_path(tmp_path, image)
    assert path.parent == tmp_path
    assert not path.name.startswith(".")
    path.touch()


def test_two_images_never_share_a_log(tmp_path: Path) -> None:
    names = ["a/b", "a_b", "a b", "x" * 130, "x" * 131, ".a", "a"]
    assert len({log_path(tmp_path, name) for name in names}) == len(names)


def test_an_ordinary_name_is_kept(tmp_path: Path) -> None:
    assert log_path(tmp_path, "nova-api_2.x") == tmp_path / "nova-api_2.x.log"


def test_a_folder_that_cannot_be_made_is_an_error_with_a_remedy(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with (
        pytest.raises(OcbuildError, match="cannot write the logs in") as error,
        open_logs(tmp_path / "file" / "logs"),
    ):
        pass
    assert error.value.hint is not None
