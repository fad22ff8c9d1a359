"""What this machine has for a run: time, free memory and disk."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from random import random
from typing import Protocol

from msgspec import Struct


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


MEBIBYTE = 2**20
MEMORY_FLOOR = 384 * MEBIBYTE
DISK_FLOOR = 1024 * MEBIBYTE


class Room(Struct, frozen=True, kw_only=True):
    """Asked before each build; both functions give bytes, or None where nobody can say."""

    disk_free: Callable[[], int | None]
    memory_free: Callable[[], int | None]

    def __call__(self) -> str | None:
        """Why no further build should start now, or None."""
        memory = self.memory_free()
        if memory is not None and memory < MEMORY_FLOOR:
            return f"{memory // MEBIBYTE} MiB of memory are free"
        disk = self.disk_free()
        if disk is not None and disk < DISK_FLOOR:
            return f"{disk // MEBIBYTE} MiB of disk are free where the engine keeps its images"
        return None


def available_memory(meminfo: Path = Path("/proc/meminfo")) -> int | None:
    """Bytes that a new process could use without swapping; None where the kernel does not say."""
    try:
        lines = meminfo.read_text().splitlines()
    except OSError:
        return None
    for line in lines:
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    return None
