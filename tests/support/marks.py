"""What stands for the tags by which runs claim a namespace: at once, or in time of its own."""

from __future__ import annotations

import heapq
import itertools
import threading
from collections.abc import Callable, Iterator
from queue import SimpleQueue

from msgspec import Struct

_FOREVER = 1000.0


class Tags(dict[str, str]):
    """Marks that answer at once."""

    def read(self, tag: str) -> str:
        return self.get(tag, "")

    def write(self, tag: str, name: str) -> None:
        self[tag] = name


class DiedError(Exception):
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
    """One process of a world, as the registry and the clock are to it."""

    world: World
    name: str
    dies_after: int | None = None
    requests: int = 0

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
            raise DiedError
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
