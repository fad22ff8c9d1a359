"""Releases in a registry: one small OCI artifact each, in a repository of their own."""

from __future__ import annotations

from collections.abc import Iterator

from builder.core.errors import PublishError, did_you_mean
from builder.core.reference import Reference
from builder.core.registry_content import Content, Manifest, is_artifact, make_artifact
from builder.core.registry_faults import NotFoundError
from builder.core.release import ARTIFACT_TYPE, DEPLOYED, NAME, Release
from builder.publish.claim import CLAIMS
from builder.registry.client import Registry


class Releases:
    """The releases of one namespace of one registry; none is read twice."""

    def __init__(self, registry: Registry, *, host: str, namespace: str) -> None:
        self._registry = registry
        self.repository = Reference(path=f"{namespace}/{NAME}", registry=host)
        self._known: dict[str, Release] = {}

    def find(self, tag: str) -> Release | None:
        """The release of this tag; None if there is none.

        Raises:
            RegistryError: the registry cannot be asked.
            PublishError: what is there is no release.

        """
        reference = self.repository.with_tag(tag)
        try:
            manifest = self._registry.manifest(reference)
        except NotFoundError:
            return None
        if not is_artifact(manifest, ARTIFACT_TYPE):
            raise PublishError(
                f"{reference} is no release of ocbuild",
                hint="is the namespace the right one?",
            )
        known = self._known.get(manifest.digest)
        if known is None:
            content = self._registry.blobs.read(self.repository, manifest.layers[0])
            known = self._known[manifest.digest] = Release.from_bytes(content, str(reference))
        return known

    def read(self, tag: str) -> Release:
        """The release of this tag.

        Raises:
            PublishError: there is none; the hint has the nearest tags.

        """
        found = self.find(tag)
        if found is None:
            raise PublishError(
                f"there is no release {tag} in {self.repository}",
                hint=did_you_mean(tag, list(self.tags())) or "see: ocbuild release ls",
            )
        return found

    def write(self, release: Release, tags: tuple[str, ...] = ()) -> Reference:
        """Store it under its own tag and then under ``tags``; where it is, by digest."""
        manifest, (empty, content) = artifact(release)
        # It says when it was made, so nobody has it.
        self._registry.blobs.put(self.repository, content, look=False)
        own, *others = (self.repository.with_tag(tag) for tag in (release.tag, *tags))
        self._registry.put_artifact(own, manifest, empty)
        for reference in others:
            self._registry.put(reference, manifest)
        return self.repository.at(manifest.digest)

    def tags(self) -> Iterator[str]:
        """The tags of all releases, moving ones included; none where there is no release yet."""
        try:
            for tag in self._registry.tags(self.repository):
                # The claims of runs and the records of deployments lie beside them.
                if tag not in CLAIMS and not tag.startswith(DEPLOYED):
                    yield tag
        except NotFoundError:
            return


def artifact(release: Release) -> tuple[Manifest, tuple[Content, ...]]:
    """The manifest of a release, and the blobs that must be there before it."""
    annotations = {
        "org.opencontainers.image.created": release.created,
        "org.opencontainers.image.revision": release.commit,
        "org.opencontainers.image.version": release.tag,
    }
    return make_artifact(ARTIFACT_TYPE, release.as_bytes(), annotations)
