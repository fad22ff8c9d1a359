"""Time, waiting and chance as one value, so that tests can own them."""

from __future__ import annotations

import threading
import time
from random import random
from typing import Protocol


class Clock(Protocol):
    def now(self) -> float:
        """Seconds since the epoch."""
        ...

    def monotonic(self) -> float:
        """Seconds since some point in the past; only differences mean anything."""
        ...

    def random(self) -> float:
        """0 <= x < 1, to spread retries; never for secrets."""
        ...

    def wait(self, event: threading.Event, seconds: float) -> bool:
        """Wait until the event is set, but no longer than ``seconds``; whether it is set."""
        ...


class SystemClock:
    """The real one."""

    def now(self) -> float:
        return time.time()

    def monotonic(self) -> float:
        return time.monotonic()

    def random(self) -> float:
        return random()  # noqa: S311 - spreads retries, guards nothing

    def wait(self, event: threading.Event, seconds: float) -> bool:
        return event.wait(seconds)
