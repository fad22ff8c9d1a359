"""What runs where, as the registry remembers it: one small artifact for each stack on each host.

It lies beside the releases, so that whoever may read them can tell what runs, and what ran before,
without the machine from which it was deployed. It holds no secret: of a compose file only what is
needed to find containers again.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any

from msgspec import Struct

from builder.core.errors import PublishError
from builder.core.reference import Reference
from builder.core.release import DEPLOYED
from builder.registry import artifacts
from builder.registry.client import Registry
from builder.registry.faults import (
    ForbiddenError,
    NotFoundError,
    RefusedError,
    UnauthorisedError,
)

SCHEMA = 1
TYPE = "application/vnd.ocbuild.deployment.v1+json"
# What a tag may be made of, and how long it may be.
_BAD = re.compile(r"[^A-Za-z0-9_.-]")
_LONGEST = 100


class Brought(Struct, frozen=True, kw_only=True):
    """One deployment of a stack: ``id`` tells it from all others, ``compose`` is its skeleton."""

    id: str
    release: str
    at: str
    by: str
    compose: Mapping[str, Any]


class Entry(Struct, frozen=True, kw_only=True):
    """What is known of a stack on the host whose engine has this identity.

    ``now`` is None where it was taken down, ``at`` and ``by`` say when and by whom this was
    written; ``data`` is False where its volumes were removed, too.
    """

    host: str
    stack: str
    engine: str
    project: str
    at: str
    by: str
    now: Brought | None = None
    before: Brought | None = None
    data: bool = True

    @property
    def tag(self) -> str:
        return tag_of(self.host, self.stack, self.engine, self.project)

    @property
    def releases(self) -> tuple[str, ...]:
        """Those that must stay: what runs, and what a rollback brings back."""
        if self.now is None:
            return ()
        return tuple(dict.fromkeys(one.release for one in (self.now, self.before) if one))

    def as_bytes(self) -> bytes:
        document = {
            "schema": SCHEMA,
            "host": self.host,
            "stack": self.stack,
            "engine": self.engine,
            "project": self.project,
            "at": self.at,
            "by": self.by,
            "data": self.data,
            "now": _brought_json(self.now),
            "before": _brought_json(self.before),
        }
        return json.dumps(document, sort_keys=True, indent=1).encode() + b"\n"

    @classmethod
    def from_bytes(cls, data: bytes, where: str) -> Entry:
        """Read what ``as_bytes`` wrote.

        Raises:
            PublishError: it is no such record, or one of a newer schema.

        """
        try:
            found: dict[str, Any] = json.loads(data)
            if found["schema"] != SCHEMA:
                raise PublishError(
                    f"{where} was written by another version of ocbuild",
                    hint="use the version that wrote it, or a newer one",
                )
            return cls(
                host=str(found["host"]),
                stack=str(found["stack"]),
                engine=str(found["engine"]),
                project=str(found["project"]),
                at=str(found["at"]),
                by=str(found["by"]),
                data=bool(found["data"]),
                now=_brought(found["now"]),
                before=_brought(found["before"]),
            )
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise PublishError(f"{where} holds no record of a deployment: {error!r}") from error


def tag_of(host: str, stack: str, engine: str, project: str) -> str:
    """Engines tell apart what has the same name in two places, such as "local" on two desks."""
    which = hashlib.sha256(f"{engine}\0{project}".encode()).hexdigest()[:8]
    return _BAD.sub("_", f"{DEPLOYED}{host}.{stack}")[:_LONGEST] + f".{which}"


def _brought_json(one: Brought | None) -> dict[str, object] | None:
    if one is None:
        return None
    return {
        "id": one.id,
        "release": one.release,
        "at": one.at,
        "by": one.by,
        "compose": one.compose,
    }


def _brought(found: Mapping[str, Any] | None) -> Brought | None:
    if found is None:
        return None
    return Brought(
        id=str(found["id"]),
        release=str(found["release"]),
        at=str(found["at"]),
        by=str(found["by"]),
        compose=dict(found["compose"]),
    )


class Deployments:
    """The records of one namespace of one registry; ``repository`` is that of its releases."""

    def __init__(self, registry: Registry, repository: Reference) -> None:
        self._registry = registry
        self._repository = repository

    def read(self, tag: str) -> Entry | None:
        """The record of this tag; None if there is none.

        Raises:
            RegistryError: the registry cannot be asked.
            PublishError: what is there is no record.

        """
        place = self._repository.with_tag(tag)
        try:
            manifest = self._registry.manifest(place)
        except NotFoundError:
            return None
        if not artifacts.is_artifact(manifest, TYPE):
            raise PublishError(
                f"{place} is no record of a deployment", hint="delete that tag, and deploy again"
            )
        data = self._registry.blobs.read(self._repository, manifest.layers[0])
        return Entry.from_bytes(data, str(place))

    def all(self) -> Iterator[Entry]:
        try:
            tags = [tag for tag in self._registry.tags(self._repository) if is_record(tag)]
        except NotFoundError:
            return
        for tag in tags:
            entry = self.read(tag)
            if entry is not None:
                yield entry

    def write(self, entry: Entry) -> None:
        """Put it in the place of what was there, which is deleted where that is allowed."""
        place = self._repository.with_tag(entry.tag)
        before = self._registry.head(place)
        manifest, parts = artifacts.artifact(
            TYPE,
            entry.as_bytes(),
            {
                "org.opencontainers.image.created": entry.at,
                "org.opencontainers.image.title": f"{entry.stack} on {entry.host}",
            },
        )
        for part in parts:
            self._registry.blobs.put(self._repository, part)
        self._registry.put(place, manifest)
        if before is not None and before.digest != manifest.digest:
            # Nothing names it any more; a registry that keeps it all the same is welcome to it.
            with suppress(NotFoundError, RefusedError, ForbiddenError, UnauthorisedError):
                self._registry.delete(self._repository.at(before.digest))


def is_record(tag: str) -> bool:
    return tag.startswith(DEPLOYED)
