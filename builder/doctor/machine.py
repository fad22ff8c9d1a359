"""The machine under the engine: disk, memory, the state folder, and the limits of containers."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from builder.core.errors import BuildError, EngineUnavailableError
from builder.core.text import size
from builder.doctor.finding import Finding, failure, ok, warning
from builder.system.resources import DISK_FLOOR, MEMORY_FLOOR

# All images of a tree such as ours, unpacked, and what a build adds to them for a while.
_COMFORT = 20 * 2**30
_STATE_COMFORT = 2**30
# Each dnsmasq, libvirtd and udevd takes one; all containers of root share them.
_INOTIFY_INSTANCES = 128
_INOTIFY_WATCHES = 8192
_FILES = 4096
# Erlang and others make a table of this size when they start.
_TOO_MANY_FILES = 16 * 2**20


def disk(where: Path, what: str) -> Finding:
    """Room where the engine keeps its images."""
    try:
        status = os.statvfs(where)
    except OSError as error:
        return warning("disk", f"{what} ({where}) cannot be looked at: {error.strerror}")
    free = status.f_bavail * status.f_frsize
    fact = f"{size(free)} free for {what} ({where})"
    inodes = f"{status.f_favail} inodes" if status.f_files else ""
    if free < DISK_FLOOR:
        return failure("disk", fact, "`docker system df`, and `ocbuild prune --yes`", BuildError)
    if status.f_files and status.f_favail < 100_000:  # noqa: PLR2004 - some images of files
        return warning("disk", f"only {inodes} free for {what} ({where})", "`ocbuild prune --yes`")
    if free < _COMFORT:
        return warning("disk", fact, f"a tree of many images needs more like {size(_COMFORT)}")
    return ok("disk", fact)


def state(folder: Path) -> Finding:
    """The state folder, tried by a file that is gone at once; it is not made for that."""
    there = folder
    while not there.exists():
        there = there.parent
    try:
        if there == folder:
            with tempfile.TemporaryFile(dir=folder):
                pass
        elif not os.access(there, os.W_OK | os.X_OK):
            raise PermissionError(13, os.strerror(13))
        status = os.statvfs(there)
    except OSError as error:
        return failure(
            "state",
            f"nothing can be written to {folder}: {error.strerror}",
            "make it writable, or name another one by OCBUILD_STATE",
            EngineUnavailableError,
        )
    free = status.f_bavail * status.f_frsize
    fact = f"{folder} can be {'written' if there == folder else 'made'}, {size(free)} free"
    if free < _STATE_COMFORT:
        return warning("state", fact, "the embedded registry keeps its images there")
    return ok("state", fact)


def memory(available: int | None) -> Iterator[Finding]:
    if available is None:
        return
    fact = f"{size(available)} available"
    if available < MEMORY_FLOOR:
        yield warning("memory", fact, "builds wait until there is more: end something")
    else:
        yield ok("memory", fact)


def limits(root: Path = Path("/")) -> Iterator[Finding]:
    """What the kernel gives to all containers together, and the engine to each."""
    folder = root / "proc/sys/fs/inotify"
    wanted = (("max_user_instances", _INOTIFY_INSTANCES), ("max_user_watches", _INOTIFY_WATCHES))
    for name, least in wanted:
        value = _number(folder / name)
        if value is None:
            continue
        if value < least:
            yield warning(
                "limits",
                f"fs.inotify.{name} is {value}: containers of one host share that",
                f"sysctl -w fs.inotify.{name}={least * 4}",
            )
        else:
            yield ok("limits", f"fs.inotify.{name} is {value}")
    yield from _files(root)


def _files(root: Path) -> Iterator[Finding]:
    """Open files: containers inherit the limit of the engine unless it is told otherwise."""
    pid = _number(root / "var/run/docker.pid")
    with contextlib.suppress(OSError):
        for line in (root / f"proc/{pid}/limits").read_text().splitlines():
            if not line.startswith("Max open files"):
                continue
            soft = line.split()[3]
            value = _TOO_MANY_FILES * 2 if soft == "unlimited" else int(soft)
            fact = f"containers may open {soft} files"
            remedy = '"default-ulimits" in /etc/docker/daemon.json, for nofile: 1048576'
            if value < _FILES or value > _TOO_MANY_FILES:
                yield warning("limits", fact, remedy)
            else:
                yield ok("limits", fact)


def _number(file: Path) -> int | None:
    try:
        return int(file.read_text())
    except (OSError, ValueError):
        return None
