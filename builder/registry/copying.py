"""Copies an image from one repository to another, and only what the other lacks."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from builder.core.reference import Reference
from builder.registry.content import Content, Descriptor, Manifest
from builder.registry.session import Repository
from builder.system import threads

if TYPE_CHECKING:
    from typing import IO

    from builder.registry.client import Registry

# Blobs of one image at a time; who copies many images does so in threads of his own.
_AT_ONCE = 4


def copy_image(registry: Registry, source: Reference, target: Reference) -> Descriptor:
    """Have under ``target`` what ``source`` names: blobs first, then manifests, then the tag."""
    manifest = registry.manifest(source)
    named = target if target.tag or target.digest else target.at(manifest.digest)
    found = registry.head(named)
    if found is not None and found.digest == manifest.digest:
        return manifest.descriptor
    _copy_parts(registry, source, target, manifest)
    return registry.put(named, manifest)


def _copy_parts(
    registry: Registry, source: Reference, target: Reference, manifest: Manifest
) -> None:
    """Have all that the manifest names in the repository of ``target``."""
    if Repository.of(source) == Repository.of(target):
        return
    # A registry takes a manifest only after all that it names.
    if registry.head(target.at(manifest.digest)) is not None:
        return
    for child in manifest.manifests:
        part = registry.manifest(source.at(child.digest))
        _copy_parts(registry, source, target, part)
        registry.put(target.at(child.digest), part)

    def put(blob: Descriptor) -> None:
        _copy_blob(registry, source, target, blob)

    threads.each(put, manifest.blobs, at_once=_AT_ONCE)


def _copy_blob(registry: Registry, source: Reference, target: Reference, blob: Descriptor) -> None:
    content = Content(
        digest=blob.digest,
        size=blob.size,
        open=lambda: cast("IO[bytes]", registry.blobs.open(source, blob.digest)),
    )
    same = Repository.of(source).host == Repository.of(target).host
    registry.blobs.put(target, content, mount_from=source if same else None)
