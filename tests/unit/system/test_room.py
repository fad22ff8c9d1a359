"""Builds wait where memory or disk is short, and do not where nobody can say."""

from __future__ import annotations

from pathlib import Path

import pytest

from builder.system.resources import DISK_FLOOR, MEBIBYTE, MEMORY_FLOOR, Room, available_memory


@pytest.mark.parametrize(
    ("disk", "memory", "reason"),
    [
        (DISK_FLOOR, MEMORY_FLOOR, None),
        (None, None, None),
        (DISK_FLOOR, 100 * MEBIBYTE, "100 MiB of memory are free"),
        (
            10 * MEBIBYTE,
            MEMORY_FLOOR,
            "10 MiB of disk are free where the engine keeps its images",
        ),
    ],
)
def test_the_reason_to_wait(disk: int | None, memory: int | None, reason: str | None) -> None:
    assert Room(disk_free=lambda: disk, memory_free=lambda: memory)() == reason


def test_free_memory_is_what_the_kernel_says_is_available(tmp_path: Path) -> None:
    file = tmp_path / "meminfo"
    file.write_text("MemTotal:  1000 kB\nMemFree:  10 kB\nMemAvailable:   500 kB\n")
    assert available_memory(file) == 500 * 1024
    file.write_text("MemTotal:  1000 kB\n")
    assert available_memory(file) is None
    assert available_memory(tmp_path / "none") is None
