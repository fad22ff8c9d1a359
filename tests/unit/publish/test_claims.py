"""The claim under every timing: a simulated registry whose requests take as long as it likes."""

from __future__ import annotations

import heapq
import itertools
import threading
from collections.abc import Callable, Iterator, Sequence
from queue import SimpleQueue

import pytest
from hypothesis import example, given, settings, strategies as st
from msgspec import Struct

from builder.core.errors import InterruptedRunError, PublishError
from builder.publish.claim import ABANDONED_SECONDS, ASKED, CLAIM, HELD, Claim
from tests.support.clock import FakeClock

LONGEST_REQUEST = 0.6
_FOREVER = 1000.0


class _DiedError(Exception):
    """The process is gone, with all that it had."""


class World:
    """Tags, a clock, and processes of which one at a time goes on, when its event is due."""

    def __init__(self, delays: Iterator[float]) -> None:
        self.now = 0.0
        self.tags: dict[str, str] = {}
        self.inside: list[str] = []
        self.overlaps: list[list[str]] = []
        self.errors: list[BaseException] = []
        self._delays = delays
        self._due: list[tuple[float, int, Callable[[], None]]] = []
        self._count = itertools.count()
        self._idle: SimpleQueue[None] = SimpleQueue()

    def at(self, when: float, what: Callable[[], None]) -> None:
        heapq.heappush(self._due, (when, next(self._count), what))

    def run(self) -> None:
        while self._due:
            self.now, _, what = heapq.heappop(self._due)
            assert self.now < _FOREVER
            what()

    def resume(self, sleeper: threading.Event) -> None:
        """Let a process go on until it asks or waits again, or ends."""
        sleeper.set()
        self._idle.get()

    def sleep_until(self, when: float) -> None:
        sleeper = threading.Event()
        self.at(when, lambda: self.resume(sleeper))
        self._idle.put(None)
        sleeper.wait()

    def start(self, when: float, body: Callable[[], None]) -> threading.Thread:
        def run() -> None:
            sleeper.wait()
            try:
                body()
            except BaseException as error:  # noqa: BLE001 - the thread of the test raises it
                self.errors.append(error)
            self._idle.put(None)

        sleeper = threading.Event()
        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        self.at(when, lambda: self.resume(sleeper))
        return thread

    def request(self, effect: Callable[[], str]) -> str:
        """What is asked for happens some time after it is sent, and is known some time later."""
        answer: list[str] = []
        happens = self.now + next(self._delays)
        self.at(happens, lambda: answer.append(effect()))
        self.sleep_until(happens + next(self._delays))
        return answer[0]


class Process(Struct):
    """One run: claims, publishes for a while, and gives the claim back."""

    world: World
    name: str
    stay: float
    dies_after: int | None = None
    requests: int = 0
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
        except _DiedError:
            if self.name in world.inside:
                world.inside.remove(self.name)

    # -- the registry and the clock, as this process sees them --

    def read(self, tag: str) -> str:
        self._count()
        return self.world.request(lambda: self.world.tags.get(tag, ""))

    def write(self, tag: str, name: str) -> None:
        self._count()

        def effect() -> str:
            self.world.tags[tag] = name
            return name

        self.world.request(effect)

    def _count(self) -> None:
        if self.requests == self.dies_after:
            raise _DiedError
        self.requests += 1

    def now(self) -> float:
        return self.world.now

    def monotonic(self) -> float:
        return self.world.now

    def random(self) -> float:
        return 0.5

    def wait(self, event: threading.Event, seconds: float) -> bool:
        self.world.sleep_until(self.world.now + seconds)
        return event.is_set()


def simulate(
    arrivals: Sequence[float],
    delays: Sequence[float],
    *,
    stay: float = 1.0,
    deaths: Sequence[int | None] = (),
) -> tuple[World, list[Process]]:
    world = World(itertools.cycle(delays))
    processes = [
        Process(world, f"run {number}", stay, death)
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


class Tags(dict[str, str]):
    """Marks that answer at once."""

    def read(self, tag: str) -> str:
        return self.get(tag, "")

    def write(self, tag: str, name: str) -> None:
        self[tag] = name


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
