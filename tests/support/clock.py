"""A clock that stands still until somebody waits or moves it."""

from __future__ import annotations

import threading


class FakeClock:
    """``waits`` are all the delays that were asked for, in order; waiting moves the time."""

    def __init__(self, *, start: float = 1_700_000_000.0, chance: float = 0.5) -> None:
        self.waits: list[float] = []
        self._start = start
        self._elapsed = 0.0
        self._chance = chance
        self._lock = threading.Lock()

    def now(self) -> float:
        return self._start + self.monotonic()

    def monotonic(self) -> float:
        with self._lock:
            return self._elapsed

    def random(self) -> float:
        return self._chance

    def wait(self, event: threading.Event, seconds: float) -> bool:
        with self._lock:
            self.waits.append(seconds)
            self._elapsed += seconds
        return event.is_set()

    def advance(self, seconds: float) -> None:
        with self._lock:
            self._elapsed += seconds
