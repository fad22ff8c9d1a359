"""The claim under every timing: a simulated registry whose requests take as long as it likes."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Sequence

import pytest
from hypothesis import example, given, settings, strategies as st

from builder.core.errors import InterruptedRunError, PublishError
from builder.core.registry_faults import RefusedError
from builder.publish.claim import ABANDONED_SECONDS, ASKED, CLAIM, HELD, Claim
from tests.support.clock import FakeClock
from tests.support.marks import DiedError, Process, Tags, World

LONGEST_REQUEST = 0.6


class Run(Process):
    """One run: claims, publishes for a while, and gives the claim back."""

    stay: float = 0.0
    done: bool = False

    def body(self) -> None:
        world = self.world
        claim = Claim(self, self.name, place="here", clock=self, cancel=threading.Event())
        try:
            claim.take(lambda _: None)
            world.inside.append(self.name)
            if len(world.inside) > 1:
                world.overlaps.append(list(world.inside))
            world.sleep_until(world.now + self.stay)
            claim.check()
            world.inside.remove(self.name)
            claim.free()
            self.done = True
        except DiedError:
            if self.name in world.inside:
                world.inside.remove(self.name)


def simulate(
    arrivals: Sequence[float],
    delays: Sequence[float],
    *,
    stay: float = 1.0,
    deaths: Sequence[int | None] = (),
) -> tuple[World, list[Run]]:
    world = World(itertools.cycle(delays))
    processes = [
        Run(world, f"run {number}", death, stay=stay)
        for number, (_, death) in enumerate(
            zip(arrivals, itertools.chain(deaths, itertools.repeat(None)), strict=False)
        )
    ]
    threads = [
        world.start(when, process.body) for when, process in zip(arrivals, processes, strict=True)
    ]
    world.run()
    for thread in threads:
        thread.join(10)
    for error in world.errors:
        raise error
    return world, processes


ARRIVALS = st.lists(st.floats(0, 3), min_size=2, max_size=5)
# Each request has two of them: until it happens, and until the answer is there.
DELAYS = st.lists(st.floats(0.0, LONGEST_REQUEST / 2), min_size=1, max_size=40)


@settings(max_examples=300, deadline=None)
@given(arrivals=ARRIVALS, delays=DELAYS, stay=st.sampled_from((0.0, 0.05, 1.0, 5.0)))
@example(arrivals=[0.0, 0.0], delays=[0.1], stay=1.0)
@example(arrivals=[0.0, 0.0, 0.0], delays=[0.3, 0.0, 0.05], stay=0.0)
def test_of_several_runs_one_at_a_time_has_the_claim(
    arrivals: list[float], delays: list[float], stay: float
) -> None:
    world, processes = simulate(arrivals, delays, stay=stay)
    assert world.overlaps == []
    assert all(process.done for process in processes)
    assert world.tags[CLAIM] == world.tags[HELD] == ""


@settings(max_examples=300, deadline=None)
@given(
    arrivals=ARRIVALS,
    delays=DELAYS,
    deaths=st.lists(st.integers(0, 9), min_size=1, max_size=1),
)
def test_a_run_that_dies_keeps_the_others_out_for_a_while_only(
    arrivals: list[float], delays: list[float], deaths: list[int]
) -> None:
    world, processes = simulate(arrivals, delays, deaths=deaths)
    assert world.overlaps == []
    assert all(process.done for process in processes[1:])
    assert world.now < 3 * ABANDONED_SECONDS


def test_who_waits_for_a_dead_one_is_not_taken_for_dead() -> None:
    """The first one is quick, and dies; the second one has to wait for that, before the third."""
    world, processes = simulate([0.25, 0.0, 0.0], [0.25, 0.0, 0.0], deaths=[5])
    assert world.overlaps == []
    assert [process.done for process in processes] == [False, True, True]


def test_who_is_alone_has_the_claim_after_five_requests_and_no_wait() -> None:
    world, (process, late) = simulate([0.0, 100.0], [0.001], stay=0.0)
    assert world.now == pytest.approx(100.0 + 0.02, abs=0.01)
    # Five to take it, one to make sure, four to give it back.
    assert process.requests == late.requests == 10


def claim(tags: Tags, clock: FakeClock, name: str = "me") -> Claim:
    return Claim(tags, name, place="r/release", clock=clock, cancel=threading.Event())


def test_who_waits_is_told_for_whom() -> None:
    tags, clock = Tags({CLAIM: "the other run", HELD: "the other run"}), FakeClock()
    said: list[str] = []

    def tell(text: str) -> None:
        said.append(text)

    claim(tags, clock).take(tell)
    assert said == ["waiting: the other run is publishing to r/release just now"]
    assert sum(clock.waits) == pytest.approx(ABANDONED_SECONDS, abs=1)
    assert tags == {ASKED: "me", CLAIM: "me", HELD: "me"}


def test_a_claim_that_was_taken_over_is_neither_ours_nor_given_back() -> None:
    tags = Tags()
    ours = claim(tags, FakeClock())
    ours.take(print)
    other = claim(tags, FakeClock(), "other")
    other.take(print)
    with pytest.raises(PublishError, match="other has taken over publishing to r/release"):
        ours.check()
    ours.free()
    other.check()


def test_waiting_ends_with_the_run() -> None:
    cancelled = threading.Event()
    cancelled.set()
    tags = Tags({CLAIM: "other"})
    with pytest.raises(InterruptedRunError):
        Claim(tags, "me", place="r", clock=FakeClock(), cancel=cancelled).take(print)
    assert tags[CLAIM] == "other"


def test_a_second_attempt_of_the_same_run_goes_on_at_once() -> None:
    tags, clock = Tags({ASKED: "me", CLAIM: "me"}), FakeClock()
    claim(tags, clock).take(print)
    assert tags == {ASKED: "me", CLAIM: "me", HELD: "me"}
    assert clock.waits == []


def test_a_claim_that_is_held_is_not_taken_again() -> None:
    tags = Tags()
    ours = claim(tags, FakeClock())
    ours.take(print)
    tags[ASKED] = "another that has just come"
    ours.take(print)
    assert tags[CLAIM] == tags[HELD] == "me"
    assert tags[ASKED] != "me"


def test_who_publishes_for_long_renews_the_claim_and_is_not_given_up() -> None:
    """Whoever waits sees another text each time, and the name of the run in what is told."""
    tags, clock = Tags(), FakeClock()
    ours = claim(tags, clock)
    ours.take(print)
    seen = [tags[HELD]]
    for _ in range(9):
        clock.wait(threading.Event(), ABANDONED_SECONDS / 2)
        ours.keep()
        seen.append(tags[HELD])
    assert len(set(seen)) == len(seen)
    assert seen[:2] == ["me", "me; renewed 1"]
    said: list[str] = []
    with pytest.raises(InterruptedRunError):
        _waiting(tags).take(said.append)
    assert said == ["waiting: me is publishing to r/release just now"]
    ours.free()
    assert (tags[CLAIM], tags[HELD]) == ("", "")


def _waiting(tags: Tags) -> Claim:
    cancelled = threading.Event()
    cancelled.set()
    return Claim(tags, "other", place="r/release", clock=FakeClock(), cancel=cancelled)


def test_nobody_is_asked_again_so_soon_after_the_claim_was_taken() -> None:
    tags, clock = Tags(), FakeClock()
    ours = claim(tags, clock)
    ours.take(print)
    tags[HELD] = "other"
    ours.keep()
    clock.wait(threading.Event(), ABANDONED_SECONDS / 2)
    with pytest.raises(PublishError, match="other has taken over"):
        ours.keep()


@pytest.mark.parametrize("held", ["me", "other", ""])
def test_who_was_suspended_for_longer_than_the_lease_finds_out(held: str) -> None:
    """Also where the other one has just begun to take it, or has given it back by now."""
    tags, clock = Tags(), FakeClock()
    ours = claim(tags, clock)
    ours.take(print)
    clock.wait(threading.Event(), ABANDONED_SECONDS + 1)
    tags.update({CLAIM: "other" if held else "", HELD: held})
    before = dict(tags)
    with pytest.raises(PublishError, match="has taken over publishing"):
        ours.keep()
    ours.free()
    assert tags[CLAIM] == before[CLAIM]


def test_who_was_suspended_where_nobody_waited_goes_on() -> None:
    tags, clock = Tags(), FakeClock()
    ours = claim(tags, clock)
    ours.take(print)
    clock.wait(threading.Event(), 10 * ABANDONED_SECONDS)
    ours.keep()
    assert tags == {ASKED: "me", CLAIM: "me", HELD: "me; renewed 1"}


@pytest.mark.parametrize("there", ["", "another run"])
def test_whether_tags_can_be_moved_is_tried_before_anything_is_built(there: str) -> None:
    class Immutable(Tags):
        def write(self, tag: str, name: str) -> None:
            if tag in self:
                raise RefusedError(f"{tag} is immutable", status=412)
            super().write(tag, name)

    tags = Immutable({ASKED: there} if there else {})
    with pytest.raises(RefusedError, match="claim-asked is immutable"):
        claim(tags, FakeClock()).try_out()
    free = Tags({ASKED: there} if there else {})
    claim(free, FakeClock()).try_out()
    assert free.keys() == {ASKED}
    claim(free, FakeClock()).take(print)
