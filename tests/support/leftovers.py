"""What a run of the tests leaves in the engine when it is killed, and how the next one removes it.

A run names what it makes after itself, and holds the lock of its name while it lives: what bears
the name of a run that holds no lock is nobody's any more. Networks of a cloud have fixed addresses,
so that one which is left over stops every later run.
"""

from __future__ import annotations

import fcntl
import functools
import os
import re
import tempfile
import uuid
from pathlib import Path
from typing import IO

from tests.support.engines import docker

_LOCKS = Path(tempfile.gettempdir()) / "ocbuild-test-runs"
_NAME = re.compile(r"ocbuild-(?:cloud|images)-(?P<run>[0-9a-f]{8})\b")
_held: list[IO[bytes]] = []


@functools.cache
def run_name() -> str:
    """The name of this run; its lock is held until the process ends, however it ends."""
    name = uuid.uuid4().hex[:8]
    _LOCKS.mkdir(exist_ok=True)
    file = (_LOCKS / name).open("wb")
    fcntl.flock(file, fcntl.LOCK_EX)
    _held.append(file)
    return name


def new_name(kind: str) -> str:
    """A name that nobody else has, for a ``kind`` of thing: cloud or images."""
    return f"ocbuild-{kind}-{run_name()}-{uuid.uuid4().hex[:4]}"


def sweep() -> None:
    """Remove the containers, networks and volumes of runs that were killed."""
    networks = _abandoned(docker("network", "ls", "--format", "{{.ID}} {{.Name}}"))
    listed = docker("ps", "--all", "--format", "{{.ID}} {{.Names}} {{.Networks}}")
    for id_ in _abandoned(listed):
        docker("rm", "--force", "--volumes", id_)
    for id_ in networks:
        docker("network", "rm", id_)
    for name in _abandoned(docker("volume", "ls", "--format", "{{.Name}} {{.Name}}")):
        docker("volume", "rm", name)


def _abandoned(lines: str) -> list[str]:
    """The first word of each line that names a run which is no more."""
    return [
        line.split()[0]
        for line in lines.splitlines()
        if (named := _NAME.search(line)) and not _lives(named["run"])
    ]


def _lives(run: str) -> bool:
    try:
        file = os.open(_LOCKS / run, os.O_RDWR)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    else:
        (_LOCKS / run).unlink(missing_ok=True)
        return False
    finally:
        os.close(file)
