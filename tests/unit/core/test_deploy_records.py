"""Records are read as they were written, by any version; each follows from what was done before."""

from __future__ import annotations

import json
from typing import Any

import pytest
from msgspec.structs import replace

from builder.core.deploy.records import (
    Deployment,
    History,
    SharedDeployment,
    SharedRecord,
    secrets_lost,
    with_volumes,
)
from builder.core.errors import DeployError, PublishError

COMPOSE: dict[str, Any] = {"name": "cloud-db", "services": {"db": {"image": "r/db@1", "x": "é"}}}


def deployment(number: int, **more: Any) -> Deployment:
    values: dict[str, Any] = {
        "release": f"r{number}",
        "at": f"2026-01-0{number}T00:00:00Z",
        "host": "local",
        "compose": COMPOSE,
        "by": "ann",
        "id": f"id{number}",
    }
    return Deployment(**{**values, **more})


def shared(number: int) -> SharedDeployment:
    return SharedDeployment.of(deployment(number))


def record(now: int | None, before: int | None = None, **more: Any) -> SharedRecord:
    values: dict[str, Any] = {
        "host": "local",
        "stack": "db",
        "engine": "E",
        "project": "p",
        "at": f"2026-01-0{now or 8}T00:00:00Z",
        "by": "bob",
        "now": shared(now) if now else None,
        "before": shared(before) if before else None,
    }
    return SharedRecord(**{**values, **more})


def test_a_local_record_is_read_as_it_was_written() -> None:
    one = deployment(1, complete=False, adopted=True)
    assert Deployment.from_bytes(one.as_bytes(), "here") == one


def test_a_local_record_of_an_earlier_version_is_complete() -> None:
    document = {"schema": 1, "release": "r", "at": "t", "host": "h", "compose": COMPOSE}
    one = Deployment.from_bytes(json.dumps(document).encode(), "here")
    assert (one.by, one.id, one.complete, one.adopted) == ("", "", True, False)


GOOD = json.loads(deployment(1).as_bytes())
ODD: list[object] = [
    [],
    {},
    {"schema": "1"},
    {"schema": 1},
    {**GOOD, "release": None},
    {**GOOD, "compose": []},
    {**GOOD, "compose": {}},
    {**GOOD, "compose": {"services": []}},
    {**GOOD, "compose": {"services": {"db": None}}},
    {**GOOD, "whole": "yes"},
]


@pytest.mark.parametrize("document", ODD)
def test_what_is_no_local_record_is_one_error(document: object) -> None:
    with pytest.raises(DeployError, match=r"^here is no record of a deployment: it") as caught:
        Deployment.from_bytes(json.dumps(document).encode(), "here")
    assert caught.value.hint == "remove it, and deploy the stack again"


@pytest.mark.parametrize("data", [b"", b"\xff", b"[" * 9000])
def test_what_is_no_json_is_no_record(data: bytes) -> None:
    with pytest.raises(DeployError, match="no record of a deployment"):
        Deployment.from_bytes(data, "here")
    with pytest.raises(PublishError, match="no record of a deployment"):
        SharedRecord.from_bytes(data, "here")


@pytest.mark.parametrize(
    "more", [{"now": 1}, {"now": {}}, {"data": None}, {"before": {"compose": {}}}, {"host": 1}]
)
def test_what_is_no_shared_record_is_one_error(more: dict[str, object]) -> None:
    document = {**json.loads(record(2, 1).as_bytes()), **more}
    with pytest.raises(PublishError, match="here holds no record of a deployment: it"):
        SharedRecord.from_bytes(json.dumps(document).encode(), "here")


def test_another_schema_is_another_version() -> None:
    with pytest.raises(DeployError, match="written by another version"):
        Deployment.from_bytes(b'{"schema": 2}', "here")
    with pytest.raises(PublishError, match="written by another version"):
        SharedRecord.from_bytes(b'{"schema": 2}', "here")


D1, D2, D3 = deployment(1), deployment(2), deployment(3)


def of_record(number: int) -> Deployment:
    return shared(number).on("local")


@pytest.mark.parametrize(
    ("known", "told", "now"),
    [
        (History(), record(2, 1), History(current=of_record(2), previous=of_record(1))),
        (History(), record(2), History(current=of_record(2))),
        # What this machine deployed itself stays as it is known here.
        (History(current=D2, previous=D1), record(2, 1), History(current=D2, previous=D1)),
        # What ran here until somebody else deployed is known here in full.
        (History(current=D1), record(2, 1), History(current=of_record(2), previous=D1)),
        (History(current=D3), record(2, 1), History(current=D3)),
        (History(current=D2), record(None, 2), History(previous=D2)),
        (History(), record(None, 2), History(previous=of_record(2))),
        (History(previous=D1), record(None, 2), History(previous=D1)),
        (History(), record(None), History()),
        # Taken down before this machine deployed again.
        (
            History(current=D3),
            record(None, 1, at="2026-01-02T00:00:00Z"),
            History(current=D3),
        ),
    ],
)
def test_the_shared_record_is_right_where_it_is_newer(
    known: History, told: SharedRecord, now: History
) -> None:
    assert known.informed(told) == now


def lined(number: int, *before: int, at: str = "2026-01-05T00:00:00Z") -> Deployment:
    return deployment(number, at=at, line=tuple(f"id{one}" for one in before))


def told(now: Deployment | None, before: Deployment | None = None) -> SharedRecord:
    ours = [None if one is None else SharedDeployment.of(one) for one in (now, before)]
    return replace(record(None, at="2026-01-05T00:00:00Z"), now=ours[0], before=ours[1])


LATE, EARLY = "2026-02-01T00:00:00Z", "2025-01-01T00:00:00Z"


@pytest.mark.parametrize(
    ("known", "shared", "runs"),
    [
        # The registry could not be told of the last one, or of the last two.
        (History(current=lined(2, 1)), told(lined(1)), "id2"),
        (History(current=lined(3, 2, 1)), told(lined(1)), "id3"),
        # Others deployed after us, by a clock that is behind; or both did, and theirs is known.
        (History(current=lined(1, at=LATE)), told(lined(2, 1, at=EARLY), lined(1)), "id2"),
        (History(current=lined(3, 1, at=LATE)), told(lined(2, 1, at=EARLY)), "id2"),
        # Taken down after that, before that, and here without the registry's knowledge.
        (History(current=lined(2, 1, at=LATE)), told(None, lined(2, 1)), None),
        (History(current=lined(2, 1, at=EARLY)), told(None, lined(1)), "id2"),
        (History(previous=lined(2, 1)), told(lined(2, 1), lined(1)), None),
        (History(previous=lined(2, 1)), told(lined(3, 2, 1), lined(2, 1)), "id3"),
    ],
)
def test_the_order_of_deployments_is_a_chain_whatever_clocks_say(
    known: History, shared: SharedRecord, runs: str | None
) -> None:
    current = known.informed(shared).current
    assert (current.id if current else None) == runs


def test_a_deployment_knows_those_before_it() -> None:
    history = History()
    for number in range(30):
        history = history.deployed(deployment(number))
        history = history.removed() if number == 27 else history
    assert history.current is not None
    assert history.current.line == tuple(f"id{number}" for number in range(28, 8, -1))
    # One of an earlier version may have no id.
    after = History(current=deployment(1, id="")).deployed(deployment(2)).current
    assert after is not None
    assert after.line == ()


def test_a_release_of_another_name_renames_what_runs() -> None:
    told = replace(record(2), now=replace(shared(2), release="r9"))
    assert History(current=D2).informed(told).current == replace(D2, release="r9")


@pytest.mark.parametrize(
    ("known", "now"),
    [
        (History(), History(current=D3)),
        (History(current=D2, previous=D1), History(current=D3, previous=D2)),
        (History(previous=D1), History(current=D3, previous=D1)),
        # The same images, deployed once more after another machine: the way back stays.
        (
            History(current=replace(D2, adopted=True), previous=D1),
            History(current=D3, previous=D1),
        ),
    ],
)
def test_what_ran_until_now_becomes_the_previous(known: History, now: History) -> None:
    deployed = known.deployed(D3)
    assert now.current is D3
    assert deployed.current is not None
    assert replace(deployed.current, line=()) == D3
    assert deployed.previous == now.previous


def test_what_is_removed_can_be_brought_back() -> None:
    assert History(current=D2, previous=D1).removed() == History(previous=D2)
    assert History(previous=D1).removed() == History(previous=D1)


def test_a_shared_record_is_written_only_where_it_says_something_else() -> None:
    history = History(current=D2, previous=D1)
    assert history.differs_from(None)
    assert history.differs_from(record(2))
    assert not history.differs_from(record(2, 1))


def test_a_deployment_is_completed_from_the_compose_file_of_the_same_services() -> None:
    part = replace(
        of_record(1), compose={"name": "cloud-db", "services": {"db": {"image": "r/db@0"}}}
    )
    history = History(current=part, previous=D1)
    assert not history.is_complete
    completed = history.completed(COMPOSE)
    assert completed.is_complete
    assert completed.previous is D1
    assert completed.current is not None
    assert completed.current.adopted
    assert completed.current.compose["services"] == {"db": {"image": "r/db@0", "x": "é"}}
    assert completed.current.checked("db") is completed.current
    other = {"name": "cloud-db", "services": {"db": {"image": "i"}, "more": {"image": "i"}}}
    assert part.completed(other) is part
    assert part.completed({**COMPOSE, "name": "another"}) is part
    with pytest.raises(DeployError, match="does not describe what ran before, db in the"):
        part.checked("db")


def test_secrets_are_lost_only_where_something_lies_in_volumes() -> None:
    assert with_volumes([record(2, data=False)]) is None
    used = with_volumes([record(2, data=False), record(2)])
    assert used is not None
    assert "db was deployed with one, by ann" in secrets_lost("f", used).message
    assert "by bob" in secrets_lost("f", record(None)).message
