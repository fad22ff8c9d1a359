"""Whether the machine has room for one more build: free memory and free disk."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from msgspec import Struct

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
