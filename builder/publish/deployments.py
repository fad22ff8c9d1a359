"""What runs where, as the registry remembers it: one small artifact for each stack on each host.

It lies beside the releases, so that whoever may read them can tell what runs, and what ran before,
without the machine from which it was deployed. It holds no secret: of a compose file only what is
needed to find containers again.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress

from builder.core.deploy.records import SharedRecord, is_record_tag
from builder.core.errors import PublishError
from builder.core.reference import Reference
from builder.core.registry_content import is_artifact, make_artifact
from builder.core.registry_faults import (
    ForbiddenError,
    NotFoundError,
    RefusedError,
    UnauthorisedError,
)
from builder.registry.client import Registry

TYPE = "application/vnd.ocbuild.deployment.v1+json"


class Deployments:
    """The records of one namespace of one registry; ``repository`` is that of its releases."""

    def __init__(self, registry: Registry, repository: Reference) -> None:
        self._registry = registry
        self._repository = repository

    def read(self, tag: str) -> SharedRecord | None:
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
        if not is_artifact(manifest, TYPE):
            raise PublishError(
                f"{place} is no record of a deployment", hint="delete that tag, and deploy again"
            )
        data = self._registry.blobs.read(self._repository, manifest.layers[0])
        return SharedRecord.from_bytes(data, str(place))

    def all(self) -> Iterator[SharedRecord]:
        try:
            tags = [tag for tag in self._registry.tags(self._repository) if is_record_tag(tag)]
        except NotFoundError:
            return
        for tag in tags:
            record = self.read(tag)
            if record is not None:
                yield record

    def write(self, record: SharedRecord) -> None:
        """Put it in the place of what was there, which is deleted where that is allowed."""
        place = self._repository.with_tag(record.tag)
        before = self._registry.head(place)
        manifest, parts = make_artifact(
            TYPE,
            record.as_bytes(),
            {
                "org.opencontainers.image.created": record.at,
                "org.opencontainers.image.title": f"{record.stack} on {record.host}",
            },
        )
        for part in parts:
            self._registry.blobs.put(self._repository, part)
        self._registry.put(place, manifest)
        if before is not None and before.digest != manifest.digest:
            # Nothing names it any more; a registry that keeps it all the same is welcome to it.
            with suppress(NotFoundError, RefusedError, ForbiddenError, UnauthorisedError):
                self._registry.delete(self._repository.at(before.digest))
