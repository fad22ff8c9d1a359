"""What is shown of stacks that run: how they are, what they should be, and what has changed."""

from __future__ import annotations

import io
import json
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from msgspec import Struct, field
from msgspec.structs import replace
from rich.console import Console

from builder.commands.status import ChangeLog, survey, watch
from builder.core.deploy.records import Deployment
from builder.core.deploy.stack import InspectedContainer
from builder.core.deploy.status import Row, changes, rows, short
from builder.core.errors import DeployError
from builder.core.release import Inputs, Release, ReleasedImage
from builder.core.settings.sections import Stack
from builder.core.text import TableLine
from builder.deploy.compose import look
from builder.deploy.project import DeployedProject, LocalRecords
from builder.report.live import open_table, render_table
from builder.system.process import Completed
from tests.support.clock import FakeClock

API = "registry:5000/cloud/api@sha256:" + "a" * 64
NEW = "registry:5000/cloud/api@sha256:" + "b" * 64
SYNC = "registry:5000/cloud/sync@sha256:" + "c" * 64
AT = "2026-01-02T03:04:05.678901234Z"
DEPLOYMENT = Deployment(
    release="r1",
    at="2026-01-01T00:00:00Z",
    host="local",
    by="ann@desk",
    compose={
        "name": "cloud-keystone",
        "services": {"api": {"image": API, "restart": "unless-stopped"}, "sync": {"image": SYNC}},
    },
)


def document(
    service: str = "api", image: str = API, *, state: dict[str, Any] | None = None, **more: str
) -> dict[str, Any]:
    """As `docker inspect` tells it."""
    running = {
        "Status": "running",
        "Health": {"Status": "healthy"},
        "StartedAt": AT,
        "FinishedAt": "0001-01-01T00:00:00Z",
        "ExitCode": 0,
    }
    labels = {
        "com.docker.compose.project": "cloud-keystone",
        "com.docker.compose.service": service,
        **{f"com.docker.compose.{key}": value for key, value in more.items()},
    }
    return {
        "Name": f"/cloud-keystone-{service}-1",
        "State": {**running, **(state or {})},
        "Config": {"Image": image, "Labels": labels},
        "RestartCount": 0,
    }


DONE = {"Status": "exited", "Health": None, "FinishedAt": AT, "StartedAt": ""}


class Pretend(Struct):
    """An engine that has these containers, and counts what it is asked."""

    documents: Sequence[dict[str, Any]] = ()
    dead: bool = False
    asked: list[str] = field(default_factory=list)

    def docker(self, *words: str) -> Completed:
        self.asked.append(words[0])
        if self.dead:
            return Completed(stdout=b"", stderr=b"cannot connect", returncode=1)
        if words[0] == "ps":
            text = "".join(
                f"id{at} {one['Config']['Labels']['com.docker.compose.project']}\n"
                for at, one in enumerate(self.documents)
            )
            return Completed(stdout=text.encode(), stderr=b"", returncode=0)
        ids = [word for word in words if word.startswith("id")]
        found = [self.documents[int(id_[2:])] for id_ in ids]
        return Completed(stdout=json.dumps(found).encode(), stderr=b"", returncode=0)


def seen(*documents: dict[str, Any]) -> tuple[InspectedContainer, ...]:
    return look(Pretend(documents), ["cloud-keystone"])["cloud-keystone"]


def table(*documents: dict[str, Any], against: Release | None = None) -> dict[str, Row]:
    return {row.service: row for row in rows("keystone", DEPLOYMENT, seen(*documents), against)}


def test_a_row_has_all_that_is_known() -> None:
    found = table(document(), document("sync", SYNC, state=DONE))
    assert found["api"] == Row(
        stack="keystone",
        host="local",
        service="api",
        container="cloud-keystone-api-1",
        condition="healthy",
        image=API,
        digest="sha256:" + "a" * 64,
        release="r1",
        since=AT,
        deployed="2026-01-01T00:00:00Z",
        by="ann@desk",
    )
    assert (found["sync"].condition, found["sync"].well) == ("done", True)


@pytest.mark.parametrize(
    ("state", "condition"),
    [
        ({"Health": {"Status": "starting"}}, "starting"),
        ({"Health": {"Status": "unhealthy"}}, "unhealthy"),
        ({"Status": "exited", "ExitCode": 137}, "exited with 137"),
        ({"Status": "restarting"}, "restarting"),
        ({"Status": "created", "StartedAt": "0001-01-01T00:00:00Z"}, "created"),
    ],
)
def test_what_is_not_well_is_shown_as_such(state: dict[str, Any], condition: str) -> None:
    row = table(document(state=state), document("sync", SYNC, state=DONE))["api"]
    assert (row.condition, row.well) == (condition, False)


def test_a_service_that_ended_well_is_not_done_but_gone() -> None:
    row = table(document(state={"Status": "exited"}))["api"]
    assert (row.condition, row.well) == ("exited with 0", False)


def test_a_service_without_a_container_is_missing() -> None:
    row = table(document())["sync"]
    assert (row.condition, row.drift, row.well) == ("missing", "missing", False)


def test_what_somebody_else_started_is_drift() -> None:
    found = table(document(image=NEW), document("debug", "debian:trixie"))
    assert (found["api"].drift, found["api"].well) == ("not that of r1", False)
    assert (found["debug"].drift, found["debug"].well) == ("extra", False)


def test_a_container_that_compose_ran_once_by_hand_is_none_of_the_stack() -> None:
    assert not seen(document("client", oneoff="True"))


def released(tag: str, digest: str) -> Release:
    image = ReleasedImage(
        name="api",
        path="cloud/api",
        tag="1",
        digest=digest,
        key="k",
        group="g",
        inputs=Inputs(recipe=""),
    )
    return Release(
        tag=tag,
        project="p",
        namespace="cloud",
        commit="c",
        created=AT,
        images={"api": image},
    )


def test_stacks_can_be_compared_with_a_release_that_is_not_deployed() -> None:
    documents = (document(), document("sync", SYNC, state=DONE))
    newer = table(*documents, against=released("r2", "sha256:" + "b" * 64))
    # Nothing is ill because something newer was published.
    assert {name: (row.drift, row.well) for name, row in newer.items()} == {
        "api": ("not that of r2", True),
        "sync": ("", True),
    }
    same = table(*documents, against=released("r2", "sha256:" + "a" * 64))
    assert not any(row.drift for row in same.values())


def test_all_stacks_of_a_host_cost_two_questions() -> None:
    engine = Pretend((document(), document("sync", SYNC)))
    assert look(engine, ["cloud-keystone", "cloud-nova"])["cloud-nova"] == ()
    assert engine.asked == ["ps", "inspect"]


def test_a_host_with_nothing_of_ours_costs_one_question() -> None:
    engine = Pretend((document(project="somebody-elses"),))
    assert look(engine, ["cloud-keystone"]) == {"cloud-keystone": ()}
    assert engine.asked == ["ps"]


def test_an_engine_that_does_not_answer_is_an_error() -> None:
    with pytest.raises(DeployError, match="cannot connect"):
        look(Pretend(dead=True), ["cloud-keystone"])


def test_an_image_is_told_by_its_name_and_a_piece_of_its_digest() -> None:
    assert short(API) == "api@aaaaaaaaaaaa"
    assert short(f"registry/x/api:1@sha256:{'d' * 64}") == "api@dddddddddddd"
    assert short("debian:trixie") == "debian:trixie"


# --- from one look to the next --------------------------------------------------------------------

ROW = Row(
    stack="s", host="local", service="api", container="s-api-1", condition="healthy", since=AT
)


@pytest.mark.parametrize(
    ("now", "said"),
    [
        ([ROW], []),
        ([replace(ROW, condition="unhealthy")], ["s api: healthy -> unhealthy"]),
        ([replace(ROW, since="2026-02-01T00:00:00Z")], ["s api: started again, healthy"]),
        ([replace(ROW, image=NEW)], ["s api: image - -> api@bbbbbbbbbbbb"]),
        ([replace(ROW, release="r2")], ["s api: release - -> r2"]),
        # The container that takes the place of another one is the same row.
        ([replace(ROW, container="other")], []),
        ([replace(ROW, container="", condition="missing")], ["s api: healthy -> missing"]),
        ([ROW, replace(ROW, container="s-api-2", drift="extra")], ["s api: healthy, extra"]),
        ([], ["s api: gone"]),
    ],
)
def test_a_change_is_said_in_one_line_and_no_change_in_none(
    now: Sequence[Row], said: Sequence[str]
) -> None:
    assert list(changes([ROW], now)) == said


# --- a site ---------------------------------------------------------------------------------------


class Clock(FakeClock):
    """Ends the watch after so many looks."""

    def __init__(self, looks: int) -> None:
        super().__init__()
        self._looks = looks

    def wait(self, event: threading.Event, seconds: float) -> bool:
        ended = super().wait(event, seconds)
        if len(self.waits) >= self._looks:
            event.set()
        return ended


def site(tmp_path: Path, engine: Pretend, *, looks: int = 1) -> tuple[DeployedProject, Clock]:
    records = LocalRecords(tmp_path)
    records.deployed("keystone", DEPLOYMENT)
    clock = Clock(looks)
    stacks = {
        "keystone": Stack(name="keystone", file=tmp_path / "k.yml", host="local"),
        "nova": Stack(name="nova", file=tmp_path / "n.yml", host="local", needs=("keystone",)),
    }
    made = DeployedProject(
        config=None,  # type: ignore[arg-type]
        stacks=stacks,
        engines={"local": engine},  # type: ignore[dict-item]
        records=records,
        cancel=threading.Event(),
        clock=clock,
    )
    return made, clock


def test_a_host_that_does_not_answer_hides_no_stack(tmp_path: Path) -> None:
    found = survey(site(tmp_path, Pretend(dead=True))[0])
    assert [(row.stack, row.condition, row.why, row.well) for row in found] == [
        ("keystone", "unreachable", "cannot connect", False),
        ("nova", "not deployed", "", True),
    ]


def test_a_watch_says_only_what_changes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    engine = Pretend((document(), document("sync", SYNC, state=DONE)))
    here, clock = site(tmp_path, engine, looks=3)
    told = ChangeLog(here, as_json=False)

    def show(found: Sequence[Row]) -> None:
        told(found)
        if len(clock.waits) == 1:
            engine.documents = (document(state={"Health": {"Status": "unhealthy"}}),)

    watch(here, None, 2.0, show)
    lines = capsys.readouterr().out.splitlines()
    table, changed = lines[:4], lines[4:]
    assert [line.split()[0] for line in table] == ["stack", "keystone", "keystone", "nova"]
    assert [line.partition(" ")[2] for line in changed] == [
        "keystone api: healthy -> unhealthy",
        "keystone sync: done -> missing, image sync@cccccccccccc -> -, drift - -> missing",
    ]
    assert clock.waits == [2.0, 2.0, 2.0]


def test_a_watch_in_json_is_a_line_for_each_change(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    here, _ = site(tmp_path, Pretend((document(),)), looks=3)
    watch(here, None, 1.0, ChangeLog(here, as_json=True))
    (line,) = capsys.readouterr().out.splitlines()
    assert {(row["service"], row["condition"]) for row in json.loads(line)} == {
        ("api", "healthy"),
        ("sync", "missing"),
        ("", "not deployed"),
    }


def test_an_engine_that_is_away_is_asked_ever_more_rarely(tmp_path: Path) -> None:
    here, clock = site(tmp_path, Pretend(dead=True), looks=6)
    watch(here, None, 2.0, lambda _found: None)
    assert clock.waits == [4.0, 8.0, 16.0, 30.0, 30.0, 30.0]


# --- on a terminal --------------------------------------------------------------------------------


def drawn(lines: Sequence[TableLine], height: int) -> str:
    stream = io.StringIO()
    environ = {"COLUMNS": "80", "LINES": str(height), "TERM": "xterm"}
    with open_table(stream, ("what", "how"), environ=environ) as draw:
        draw(lines, "below")
    return stream.getvalue()


def test_what_is_ill_is_shown_even_where_not_all_of_it_fits() -> None:
    lines = [TableLine((f"row{at}", "healthy")) for at in range(30)]
    lines[3] = TableLine(("row3", "not deployed"), "dim")
    lines[27] = TableLine(("row27", "unhealthy"), "red", urgent=True)
    text = drawn(lines, 10)
    assert "row27" in text
    assert "row4" in text
    assert "row5" not in text
    assert "24 more lines; below" in text


def test_foreign_text_in_a_cell_obeys_nobody() -> None:
    stream = io.StringIO()
    console = Console(file=stream, width=80, force_terminal=True, color_system=None)
    console.print(render_table(("x",), [TableLine(("[red]a\x1b[2Jb",))], ""))
    assert "[red]ab" in stream.getvalue()


def member(service: str, id_: str, started: str, network: str = "bridge") -> dict[str, Any]:
    return {
        **document(service, state={"StartedAt": started}),
        "Id": id_,
        "HostConfig": {"NetworkMode": network},
    }


FIRST, THEN = "2026-01-02T03:04:05.1Z", "2026-01-02T03:04:05.12Z"


@pytest.mark.parametrize(
    ("own", "side", "lost"),
    [
        (member("own", "1", FIRST), member("side", "2", THEN, "container:1"), False),
        (member("own", "1", THEN), member("side", "2", FIRST, "container:1"), True),
        # The owner was replaced by hand.
        (member("own", "3", FIRST), member("side", "2", THEN, "container:1"), True),
        (member("own", "1", THEN), member("side", "2", FIRST, "container:elsewhere"), True),
        (member("own", "1", THEN), member("side", "2", FIRST), False),
    ],
)
def test_who_shares_a_network_loses_it_when_its_owner_starts_again(
    own: dict[str, Any], side: dict[str, Any], *, lost: bool
) -> None:
    services = {
        "own": {"image": API, "restart": "always"},
        "side": {"image": API, "restart": "always", "network_mode": "service:own"},
    }
    deployment = replace(DEPLOYMENT, compose={"name": "cloud-keystone", "services": services})
    inspected = look(Pretend([own, side]), ["cloud-keystone"])["cloud-keystone"]
    found = {row.service: (row.well, row.drift) for row in rows("x", deployment, inspected)}
    assert found["own"] == (True, "")
    assert found["side"] == ((False, "has lost the network of own") if lost else (True, ""))
