"""What machines know of each other's deployments, by way of the registry."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from msgspec.structs import replace

from builder.core.deploy.records import (
    Deployment,
    History,
    SharedDeployment,
    SharedRecord,
    tag_of,
)
from builder.core.deploy.stack import skeleton
from builder.core.errors import PublishError
from builder.core.reference import Reference
from builder.core.registry_content import make_artifact
from builder.core.settings.config import Config
from builder.core.settings.sections import Host, Stack
from builder.deploy.compose import DockerCommand
from builder.deploy.project import DeployedProject, LocalRecords
from builder.deploy.shared_record import SharedRecords
from builder.publish.write import TYPE, Deployments, Releases
from builder.registry.client import Registry
from tests.support.client import make_client
from tests.support.registry import LocalRegistry

COMPOSE: dict[str, Any] = {
    "name": "cloud-db",
    "services": {
        "db": {
            "image": "r/n/db@sha256:aa",
            "restart": "unless-stopped",
            "environment": {"PASSWORD": "s3cret"},
            "command": ["--password=s3cret"],
            "volumes": [
                {"type": "volume", "source": "data", "target": "/data", "volume": {}},
                {"type": "bind", "source": "/dev", "target": "/dev"},
            ],
        },
        "sync": {"image": "r/n/db@sha256:aa", "network_mode": "service:db"},
    },
    "volumes": {"data": {"name": "cloud-db_data", "driver_opts": {"o": "password=s3cret"}}},
    "networks": {"internal": {"name": "internal", "external": True, "ipam": {}}},
}


def deployment(number: int, **more: Any) -> Deployment:
    values: dict[str, Any] = {
        "release": f"r{number}",
        "at": f"2026-01-0{number}T00:00:00Z",
        "host": "local",
        "compose": COMPOSE,
        "by": "ann@desk",
        "id": f"id{number}",
    }
    return Deployment(**{**values, **more})


def brought(number: int) -> SharedDeployment:
    return SharedDeployment(
        id=f"id{number}",
        release=f"r{number}",
        at=f"2026-01-0{number}T00:00:00Z",
        by="bob@lab",
        compose=skeleton(COMPOSE),
    )


def entry(
    now: SharedDeployment | None, before: SharedDeployment | None = None, **more: Any
) -> SharedRecord:
    values: dict[str, Any] = {
        "host": "local",
        "stack": "db",
        "engine": "E",
        "project": "p",
        "at": now.at if now else "2026-01-08T00:00:00Z",
        "by": "bob@lab",
        "now": now,
        "before": before,
    }
    return SharedRecord(**{**values, **more})


def known(records: LocalRecords) -> tuple[str | None, str | None]:
    """The releases that run and ran before, as this machine has it."""
    current, previous = records.current("db"), records.previous("db")
    return current.release if current else None, previous.release if previous else None


@pytest.fixture
def records(tmp_path: Path) -> LocalRecords:
    return LocalRecords(tmp_path / "records")


# --- what is told ---------------------------------------------------------------------------------


def test_a_skeleton_finds_everything_again_and_tells_nothing() -> None:
    found = skeleton(COMPOSE)
    assert "s3cret" not in json.dumps(found)
    assert found == {
        "name": "cloud-db",
        "services": {
            "db": {
                "image": "r/n/db@sha256:aa",
                "restart": "unless-stopped",
                "volumes": [{"type": "volume", "source": "data", "target": "/data"}],
            },
            "sync": {"image": "r/n/db@sha256:aa", "network_mode": "service:db"},
        },
        "volumes": {"data": {"name": "cloud-db_data"}},
        "networks": {"internal": {"name": "internal", "external": True}},
    }


def test_a_record_is_read_as_it_was_written() -> None:
    one = entry(brought(2), brought(1), data=False)
    assert SharedRecord.from_bytes(one.as_bytes(), "here") == one
    assert entry(None).as_bytes() != entry(brought(1)).as_bytes()


@pytest.mark.parametrize("data", [b"", b"[]", b'{"schema": 1}', b'{"schema": 2}'])
def test_what_is_no_record_is_an_error(data: bytes) -> None:
    with pytest.raises(PublishError, match="there"):
        SharedRecord.from_bytes(data, "there")


def test_what_runs_and_what_a_rollback_needs_has_to_stay() -> None:
    assert entry(brought(2), brought(1)).releases == ("r2", "r1")
    assert entry(brought(2), replace(brought(1), release="r2")).releases == ("r2",)
    # Taken down: it may be brought back for as long as the images are there, and no longer.
    assert entry(None, brought(1)).releases == ()


def test_engines_tell_apart_what_is_called_the_same() -> None:
    tags = {tag_of("local", "db", *which) for which in (("E", "p"), ("F", "p"), ("E", "q"))}
    assert len(tags) == 3
    assert all(tag.startswith("deployed-local.db.") for tag in tags)
    long = tag_of("h" * 90, "s" * 90, "E", "p")
    assert len(long) <= 128
    assert long != tag_of("h" * 90, "s" * 90, "F", "p")


# --- what is adopted ------------------------------------------------------------------------------


def test_an_empty_machine_learns_what_runs_and_what_ran_before(records: LocalRecords) -> None:
    records.informed("db", entry(brought(2), brought(1)))
    assert known(records) == ("r2", "r1")
    now = records.current("db")
    assert now is not None
    assert (now.complete, now.by, now.compose) == (False, "bob@lab", skeleton(COMPOSE))


def test_what_this_machine_deployed_itself_is_kept_whole(records: LocalRecords) -> None:
    records.deployed("db", deployment(1))
    records.deployed("db", deployment(2))
    records.informed("db", entry(brought(2), brought(1)))
    now = records.current("db")
    assert now is not None
    assert (now.complete, now.compose) == (True, COMPOSE)


def test_what_ran_here_until_somebody_else_deployed_is_kept_whole(records: LocalRecords) -> None:
    records.deployed("db", deployment(1))
    records.informed("db", entry(brought(2), brought(1)))
    assert known(records) == ("r2", "r1")
    previous = records.previous("db")
    assert previous is not None
    assert previous.complete


def test_a_release_of_another_name_is_adopted_without_its_secrets_being_lost(
    records: LocalRecords,
) -> None:
    records.deployed("db", deployment(2))
    records.informed("db", entry(replace(brought(2), release="r3")))
    assert known(records) == ("r3", None)
    now = records.current("db")
    assert now is not None
    assert now.complete


def test_what_the_registry_could_not_be_told_is_newer(records: LocalRecords) -> None:
    records.deployed("db", deployment(3))
    records.informed("db", entry(brought(2), brought(1)))
    assert known(records) == ("r3", None)
    records.informed("db", entry(None, brought(1), at="2026-01-02T00:00:00Z"))
    assert known(records) == ("r3", None)


def test_what_was_taken_down_elsewhere_is_down(records: LocalRecords) -> None:
    records.deployed("db", deployment(2))
    records.informed("db", entry(None, brought(2)))
    assert known(records) == (None, "r2")
    previous = records.previous("db")
    assert previous is not None
    assert previous.complete


def test_what_was_taken_down_can_be_brought_back_by_an_empty_machine(records: LocalRecords) -> None:
    records.informed("db", entry(None, brought(2)))
    assert known(records) == (None, "r2")


def test_to_deploy_again_what_was_adopted_leaves_the_way_back() -> None:
    adopted = deployment(2, adopted=True)
    history = History(current=adopted, previous=deployment(1)).deployed(deployment(3))
    now = deployment(3, line=("id2",))
    assert history == History(current=now, previous=deployment(1))


# --- with a registry ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def registry() -> Iterator[LocalRegistry]:
    with LocalRegistry() as running:
        yield running


@pytest.fixture
def client() -> Iterator[Registry]:
    with make_client() as made:
        yield made


def memory(
    client: Registry, place: Reference, records: LocalRecords, said: list[str]
) -> SharedRecords:
    return SharedRecords(
        deployments=Deployments(client, place),
        records=records,
        hosts={"db": "local"},
        engines={"local": "E"},
        project="p",
        by="ann@desk",
        now=lambda: "2026-01-09T00:00:00Z",
        say=said.append,
    )


def test_the_registry_is_told_once_and_others_learn_it(
    registry: LocalRegistry, client: Registry, tmp_path: Path
) -> None:
    place = Reference(path="told/release", registry=registry.address)
    here, there = LocalRecords(tmp_path / "here"), LocalRecords(tmp_path / "there")
    said: list[str] = []
    mine = memory(client, place, here, said)
    mine.read()
    here.deployed("db", deployment(1))
    mine.keep("db")
    first = client.head(place.with_tag(mine.tag("db")))
    mine.keep("db")
    here.deployed("db", deployment(2))
    mine.keep("db")
    second = client.head(place.with_tag(mine.tag("db")))
    assert first is not None
    assert second is not None
    assert first.digest != second.digest
    # What was replaced is deleted: a registry that allows it does not fill up.
    assert client.head(place.at(first.digest)) is None

    other = memory(client, place, there, said)
    other.read()
    assert known(there) == ("r2", "r1")
    found = other.secrets_in_use()
    assert found is not None
    assert found.by == "ann@desk"
    there.removed("db")
    other.removed("db", data=False)
    assert other.secrets_in_use() is None
    mine.read()
    assert known(here) == (None, "r2")
    assert said == []
    assert [one.now for one in Deployments(client, place).all()] == [None]
    # Releases lie beside the records, and see none of them.
    releases = Releases(client, host=registry.address, namespace="told")
    assert list(releases.tags()) == []


def test_a_tag_that_is_no_record_is_an_error(registry: LocalRegistry, client: Registry) -> None:
    place = Reference(path="odd/release", registry=registry.address)
    for kind, data in (("application/x", b"{}"), (TYPE, b"{}")):
        manifest, parts = make_artifact(kind, data, {})
        for part in parts:
            client.blobs.put(place, part)
        client.put(place.with_tag("deployed-local.db.x"), manifest)
        with pytest.raises(PublishError, match="record of a deployment"):
            list(Deployments(client, place).all())


def test_a_registry_that_is_away_spoils_no_deployment(
    client: Registry, records: LocalRecords
) -> None:
    said: list[str] = []
    lost = memory(client, Reference(path="x/release", registry="127.0.0.1:9"), records, said)
    records.deployed("db", deployment(1))
    lost.read_if_possible()
    lost.keep("db")
    assert known(records) == ("r1", None)
    assert ["does not tell" in said[0], "does not know what runs now" in said[1]] == [True, True]


# --- which compose project a record may direct us at ----------------------------------------------


def project_of(tmp_path: Path, records: LocalRecords, text: str) -> DeployedProject:
    """A project with the stacks db and web in one folder; the file of db has this text."""
    folder = tmp_path / "deploy"
    folder.mkdir()
    (folder / "common.env.example").write_text("CLOUD=shop\n")
    stacks = {
        name: Stack(name=name, file=folder / f"{name}.yml", host="local") for name in ("db", "web")
    }
    for stack in stacks.values():
        stack.file.write_text(text)
    settings = SimpleNamespace(
        project=SimpleNamespace(namespace="acme"), deploy=SimpleNamespace(stacks=stacks)
    )
    engine = DockerCommand(host=Host(name="local"), environ={})
    return DeployedProject(
        config=cast("Config", settings),
        stacks=stacks,
        engines={"local": engine},
        records=records,
        cancel=threading.Event(),
    )


@pytest.mark.parametrize(
    ("text", "project", "may"),
    [
        ("services: {}\n", "acme-db", True),
        # That of an older version.
        ("services: {}\n", "deploy", True),
        ("services: {}\n", "victim", False),
        ("name: ${CLOUD:-cloud}-db\n", "shop-db", True),
        ("name: ${CLOUD:-cloud}-db\n", "victim-db", False),
        ("name: own\n", "acme-db", False),
    ],
)
def test_a_record_in_the_registry_directs_down_at_no_project_of_others(
    tmp_path: Path, records: LocalRecords, text: str, project: str, *, may: bool
) -> None:
    assert project_of(tmp_path, records, text).may_be("db", project) is may


def test_a_stack_stays_in_the_project_in_which_it_was_deployed(
    tmp_path: Path, records: LocalRecords
) -> None:
    def in_project(name: str, **more: Any) -> Deployment:
        return deployment(1, compose={**COMPOSE, "name": name}, **more)

    project = project_of(tmp_path, records, "services: {}\n")
    assert project.compose_project("db") == "acme-db"
    records.deployed("db", in_project("deploy"))
    assert project.compose_project("db") == "deploy"
    # Only the registry says so, and it is none of our names.
    records.deployed("db", in_project("victim", complete=False))
    assert project.compose_project("db") == "acme-db"
    records.deployed("db", in_project("deploy", complete=False))
    assert project.compose_project("db") == "deploy"
    records.deployed("web", in_project("deploy"))
    assert project.compose_project("db") == "acme-db"
    assert project.compose_project("web") == "acme-web"
