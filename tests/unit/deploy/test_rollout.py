"""A stack is brought to what it should be, or back to what it was; and nothing is done twice."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import pytest
from msgspec import Struct, field
from msgspec.structs import replace

from builder.core.deploy.rollout import Outcome
from builder.core.deploy.stack import Container, changed_services
from builder.core.settings.sections import Host
from builder.deploy.project import LocalRecords
from builder.deploy.rollout import Roller
from builder.system.resources import Clock

GOOD, BAD = "registry/cloud/api@sha256:aa", "registry/cloud/api@sha256:bad"


def compose(image: str = GOOD, **more: Any) -> dict[str, Any]:
    return {
        "name": "cloud-x",
        "services": {
            "sync": {"image": "registry/cloud/sync@sha256:cc"},
            "api": {"image": image, "restart": "unless-stopped", **more},
        },
    }


class Pretend(Struct):
    """An engine in which the image BAD never gets healthy."""

    pulls: bool = True
    interrupted: bool = False
    running: dict[str, str] = field(default_factory=dict)
    calls: list[str] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)
    host: Host = field(default_factory=lambda: Host(name="local"))

    def cancelled(self) -> bool:
        return self.interrupted

    def pull(
        self, stack: Mapping[str, Any], on_line: Callable[[str], None], timeout: float
    ) -> bool:
        del stack, timeout
        on_line("pulling" if self.pulls else "manifest unknown")
        return self.pulls

    def up(self, stack: Mapping[str, Any], on_line: Callable[[str], None], timeout: float) -> bool:
        del on_line, timeout
        self.running = {name: one["image"] for name, one in stack["services"].items()}
        self.calls.append(f"up {self.running['api']}")
        return BAD not in self.running.values()

    def down(self, stack: Mapping[str, Any], on_line: Callable[[str], None]) -> bool:
        del stack, on_line
        self.calls.append("down")
        self.running = {}
        return True

    def restart(self, containers: Sequence[str]) -> None:
        self.calls += [f"restart {name}" for name in containers]
        self.lost = []

    def without_network(self, stack: Mapping[str, Any]) -> Sequence[str]:
        del stack
        return self.lost

    def remove(self, containers: Sequence[str]) -> None:
        for name in containers:
            self.calls.append(f"remove {name}")
            del self.running[name.removeprefix("cloud-x-").removesuffix("-1")]

    def containers(self, stack: Mapping[str, Any]) -> tuple[Container, ...]:
        del stack
        return tuple(
            Container(
                service=service,
                name=f"cloud-x-{service}-1",
                state="exited" if service == "sync" else "running",
                health="" if service == "sync" else "unhealthy" if image == BAD else "healthy",
                exit_code=0,
                image=image,
            )
            for service, image in self.running.items()
        )

    def logs(self, container: str, *, tail: int) -> list[str]:
        del tail
        return [f"{container} cannot find its database"]


@pytest.fixture
def records(tmp_path: Path) -> LocalRecords:
    return LocalRecords(tmp_path / "deploy")


@pytest.fixture
def roller(records: LocalRecords) -> Roller:
    return Roller(
        records=records,
        say=lambda _text: None,
        now=lambda: "2026-01-02T03:04:05Z",
        timeout=60.0,
    )


def test_a_stack_that_becomes_well_is_recorded(roller: Roller, records: LocalRecords) -> None:
    done = roller.roll("x", Pretend(), compose(), "r1")
    assert (done.outcome, done.changed) == (Outcome.STARTED, ("api", "sync"))
    current = records.current("x")
    assert current is not None
    assert (current.release, current.compose) == ("r1", compose())


def test_what_runs_already_is_left_alone(roller: Roller) -> None:
    engine = Pretend()
    roller.roll("x", engine, compose(), "r1")
    assert roller.roll("x", engine, compose(), "r1").outcome is Outcome.UNCHANGED
    assert engine.calls == [f"up {GOOD}"]


def test_a_release_that_changes_nothing_is_still_the_one_that_runs(
    roller: Roller, records: LocalRecords
) -> None:
    engine = Pretend()
    roller.roll("x", engine, compose(), "r1")
    assert roller.roll("x", engine, compose(), "r2").outcome is Outcome.UNCHANGED
    current = records.current("x")
    assert current is not None
    assert current.release == "r2"
    assert records.previous("x") is None


def test_what_somebody_removed_is_started_again(roller: Roller) -> None:
    engine = Pretend()
    roller.roll("x", engine, compose(), "r1")
    engine.running.clear()
    assert roller.roll("x", engine, compose(), "r1").outcome is Outcome.STARTED


def test_a_first_deployment_that_fails_leaves_nothing_behind(
    roller: Roller, records: LocalRecords
) -> None:
    engine = Pretend()
    assert roller.roll("x", engine, compose(BAD), "r1").outcome is Outcome.FAILED
    assert engine.calls == [f"up {BAD}", "down"]
    assert records.current("x") is None


def test_a_failure_brings_back_what_ran_before(roller: Roller, records: LocalRecords) -> None:
    engine = Pretend()
    roller.roll("x", engine, compose(), "r1")
    done = roller.roll("x", engine, compose(BAD), "r2")
    assert (done.outcome, done.changed) == (Outcome.ROLLED_BACK, ("api",))
    assert engine.calls == [f"up {GOOD}", f"up {BAD}", f"up {GOOD}"]
    current = records.current("x")
    assert current is not None
    assert current.release == "r1"


def test_an_interruption_is_neither_recorded_nor_taken_back(
    roller: Roller, records: LocalRecords
) -> None:
    engine = Pretend()
    roller.roll("x", engine, compose(), "r1")
    engine.interrupted = True
    assert roller.roll("x", engine, compose(BAD), "r2").outcome is Outcome.INTERRUPTED
    current = records.current("x")
    assert current is not None
    assert current.release == "r1"
    assert f"up {GOOD}" not in engine.calls[1:]


def test_the_reason_has_the_last_words_and_where_all_of_them_are(
    roller: Roller, tmp_path: Path
) -> None:
    done = roller.roll("x", Pretend(), compose(BAD), "r1")
    kept = tmp_path / "deploy" / "x" / "api.log"
    assert done.reasons == (
        f"api is unhealthy; its log is kept in {kept}:",
        "  cloud-x-api-1 cannot find its database",
    )
    assert kept.read_text() == "cloud-x-api-1 cannot find its database\n"


def test_images_that_cannot_be_pulled_touch_nothing(roller: Roller) -> None:
    engine = Pretend()
    roller.roll("x", engine, compose(), "r1")
    engine.pulls = False
    done = roller.roll("x", engine, compose(BAD), "r2")
    assert done.outcome is Outcome.FAILED
    assert done.reasons == ("its images cannot be pulled:", "  manifest unknown")
    assert engine.calls == [f"up {GOOD}"]


def test_the_record_of_what_ran_before_survives(roller: Roller, records: LocalRecords) -> None:
    engine = Pretend()
    roller.roll("x", engine, compose(), "r1")
    roller.roll("x", engine, compose(GOOD + "a"), "r2")
    previous = records.previous("x")
    assert previous is not None
    assert (previous.release, previous.compose) == ("r1", compose())


def test_the_records_are_for_their_owner_alone(roller: Roller, tmp_path: Path) -> None:
    roller.roll("x", Pretend(), compose(), "r1")
    assert (tmp_path / "deploy").stat().st_mode & 0o777 == 0o700


def test_a_new_owner_of_a_network_changes_its_whole_group() -> None:
    def group(image: str) -> dict[str, Any]:
        member = {"image": "b", "network_mode": "service:api"}
        return {"services": {"api": {"image": image}, "member": member, "other": {"image": "c"}}}

    assert changed_services(group("a2"), group("a1")) == ("api", "member")


# -- what was cut off ----------------------------------------------------------------------------


class Cut(Pretend):
    """An engine whose host goes away while a stack comes up."""

    def up(self, stack: Mapping[str, Any], on_line: Callable[[str], None], timeout: float) -> bool:
        super().up(stack, on_line, timeout)
        raise ConnectionError


def test_a_rollback_after_a_change_that_was_cut_off_brings_back_what_ran_before_it(
    roller: Roller, records: LocalRecords
) -> None:
    for release, image in (("r1", GOOD), ("r2", f"{GOOD}2")):
        roller.roll("x", Pretend(), compose(image), release)
    with pytest.raises(ConnectionError):
        roller.roll("x", Cut(), compose(f"{GOOD}3"), "r3")
    intended, back = records.intended("x"), records.back("x")
    assert intended is not None
    assert intended.release == "r3"
    assert back is not None
    assert back.release == "r2"
    roller.roll("x", Pretend(), compose(f"{GOOD}2"), "r2")
    assert records.intended("x") is None


@pytest.mark.parametrize("image", [GOOD, BAD])
def test_a_change_that_has_ended_is_no_intention_any_more(
    roller: Roller, records: LocalRecords, image: str
) -> None:
    roller.roll("x", Pretend(), compose(f"{GOOD}0"), "r0")
    roller.roll("x", Pretend(), compose(image), "r1")
    assert records.intended("x") is None
    back = records.back("x")
    assert (back.release if back else None) == ("r0" if image == GOOD else None)


class Stopped(Pretend):
    """An engine that is told to stop while a stack comes up."""

    def up(self, stack: Mapping[str, Any], on_line: Callable[[str], None], timeout: float) -> bool:
        self.interrupted = True
        return super().up(stack, on_line, timeout)


def test_an_interrupted_change_stays_an_intention(roller: Roller, records: LocalRecords) -> None:
    roller.roll("x", Pretend(), compose(), "r1")
    engine = Stopped()
    assert roller.roll("x", engine, compose(BAD), "r2").outcome is Outcome.INTERRUPTED
    back = records.back("x")
    assert back is not None
    assert back.release == "r1"


def test_after_a_change_that_was_cut_off_nothing_is_taken_for_unchanged(roller: Roller) -> None:
    engine = Pretend()
    roller.roll("x", engine, compose(), "r1")
    cut = Cut(running=engine.running)
    with pytest.raises(ConnectionError):
        roller.roll("x", cut, compose(f"{GOOD}2"), "r2")
    # All of it is well, but it is not what the record says.
    engine.running = cut.running
    assert roller.roll("x", engine, compose(), "r1").outcome is Outcome.STARTED
    assert engine.calls == [f"up {GOOD}", f"up {GOOD}"]


def test_what_has_lost_its_network_is_started_again(roller: Roller) -> None:
    engine = Pretend()
    roller.roll("x", engine, compose(), "r1")
    engine.lost = ["cloud-x-api-1"]
    assert roller.roll("x", engine, compose(), "r1").outcome is Outcome.STARTED
    assert engine.calls == [f"up {GOOD}", f"up {GOOD}", "restart cloud-x-api-1"]


def named(*services: str) -> dict[str, Any]:
    """A stack with these services beside the usual ones."""
    more = {name: {"image": GOOD, "restart": "always"} for name in services}
    return {"name": "cloud-x", "services": {**compose()["services"], **more}}


def test_what_a_change_that_was_cut_off_has_started_goes_with_the_next_one(
    roller: Roller, records: LocalRecords
) -> None:
    engine = Pretend()
    roller.roll("x", engine, compose(), "r1")
    cut = Cut(running=engine.running)
    with pytest.raises(ConnectionError):
        roller.roll("x", cut, named("more"), "r2")
    engine.running = {**cut.running, "theirs": GOOD}
    roller.roll("x", engine, named("other"), "r3")
    # What nobody of us has started stays where it is.
    assert [call for call in engine.calls if "remove" in call] == ["remove cloud-x-more-1"]


class Patient(Struct):
    """A clock on which a stack that starts is well after one look."""

    engine: Starting

    def monotonic(self) -> float:
        return 0.0

    def wait(self, event: threading.Event, seconds: float) -> bool:
        del event, seconds
        self.engine.health = "healthy"
        return False


class Starting(Pretend):
    """An engine of which compose gives up early, as it does where a job ends by itself."""

    health: str = "starting"

    def up(self, stack: Mapping[str, Any], on_line: Callable[[str], None], timeout: float) -> bool:
        super().up(stack, on_line, timeout)
        return False

    def containers(self, stack: Mapping[str, Any]) -> tuple[Container, ...]:
        return tuple(
            replace(one, health=self.health if one.state == "running" else "")
            for one in super().containers(stack)
        )


def test_a_job_that_ends_by_itself_ends_no_wait_for_the_others(records: LocalRecords) -> None:
    engine = Starting()
    roller = Roller(
        records=records,
        say=lambda _text: None,
        now=lambda: "2026-01-02T03:04:05Z",
        timeout=60.0,
        clock=cast("Clock", Patient(engine)),
    )
    assert roller.roll("x", engine, compose(), "r1").outcome is Outcome.STARTED
    assert engine.calls == [f"up {GOOD}"]


class Flapping(Pretend):
    """An engine in which the image BAD ends and is started again, and runs at every other look."""

    looks: int = 0

    def containers(self, stack: Mapping[str, Any]) -> tuple[Container, ...]:
        self.looks += 1
        return tuple(
            replace(one, state="running" if self.looks % 2 else "restarting", health="")
            if one.image == BAD
            else one
            for one in super().containers(stack)
        )


@pytest.mark.parametrize("looks", [0, 1])
def test_what_is_started_again_and_again_is_not_well(roller: Roller, looks: int) -> None:
    engine = Flapping(looks=looks)
    done = roller.roll("x", engine, compose(BAD), "r1")
    assert done.outcome is Outcome.FAILED
    assert "api is restarting" in done.reasons[0]
    assert any("cannot find its database" in line for line in done.reasons)
