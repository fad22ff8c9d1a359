"""What a host runs now: two short questions, however many stacks there are."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any, Protocol

from msgspec import Struct

from builder.core.errors import DeployError
from builder.deploy.compose import Container
from builder.system.process import Completed

_PROJECT = "com.docker.compose.project"
_SERVICE = "com.docker.compose.service"
_ONE_OFF = "com.docker.compose.oneoff"
# What the engine says of a container that never started, or never ended.
_NEVER = "0001-01-01T00:00:00Z"


class Engine(Protocol):
    """What a look needs of the engine of a host."""

    def docker(self, *words: str) -> Completed: ...


class Seen(Struct, frozen=True, kw_only=True):
    """A container with what only an inspection tells; ``since`` is RFC 3339, "" if never."""

    container: Container
    since: str
    restarts: int


def look(engine: Engine, projects: Iterable[str]) -> dict[str, tuple[Seen, ...]]:
    """The containers of each of these compose projects.

    Raises:
        DeployError: the engine does not answer.

    """
    found: dict[str, tuple[Seen, ...]] = dict.fromkeys(projects, ())
    listed = engine.docker(
        *("ps", "--all", "--no-trunc", "--filter", f"label={_PROJECT}"),
        *("--format", f'{{{{.ID}}}} {{{{.Label "{_PROJECT}"}}}}'),
    )
    if listed.returncode != 0:
        raise DeployError(listed.complaint(lines=2))
    pairs = (line.partition(" ") for line in listed.text.splitlines())
    ids = [id_ for id_, _, project in pairs if project in found]
    if not ids:
        return found
    # One that went since the list was made is an error to docker; the others are told all the same.
    inspected = engine.docker("inspect", "--type", "container", *ids)
    try:
        documents = json.loads(inspected.text)
    except ValueError as error:
        raise DeployError(inspected.complaint(lines=2)) from error
    for document in documents:
        labels: Mapping[str, str] = document["Config"].get("Labels") or {}
        if labels.get(_ONE_OFF, "False") != "True":
            found[labels[_PROJECT]] += (_seen(document, labels),)
    return found


def _seen(document: Mapping[str, Any], labels: Mapping[str, str]) -> Seen:
    state: Mapping[str, Any] = document["State"]
    status = str(state["Status"])
    began, ended = str(state.get("StartedAt", "")), str(state.get("FinishedAt", ""))
    since = began if status in ("running", "paused") else ended
    health = str((state.get("Health") or {}).get("Status", ""))
    return Seen(
        container=Container(
            service=labels.get(_SERVICE, ""),
            name=str(document["Name"]).removeprefix("/"),
            state=status,
            health="" if health == "none" else health,
            exit_code=int(state.get("ExitCode", 0)),
            image=str(document["Config"]["Image"]),
            status=status,
        ),
        since="" if since == _NEVER else since,
        restarts=int(document.get("RestartCount", 0)),
    )
