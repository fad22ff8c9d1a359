"""All manifests of a namespace, as they are in the registry now."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from datetime import datetime

from builder.core.reference import Reference
from builder.core.retention import Shelved, StoredManifest
from builder.core.text import moment
from builder.publish.home import Home
from builder.registry.content import Manifest
from builder.registry.faults import ForbiddenError, NotFoundError, RegistryError, UnauthorisedError
from builder.system.threads import each

_CONFIGS = (
    "application/vnd.oci.image.config.v1+json",
    "application/vnd.docker.container.image.v1+json",
)


def repositories(home: Home, shelf: Iterable[Shelved]) -> list[str]:
    """Those that the registry lists below the namespace, and those that a release names.

    Not every registry has a list, or shows it to everybody.
    """
    found = {home.releases.repository.path}
    found |= {image.path for one in shelf for image in one.release.images.values()}
    try:
        listed = list(home.registry.catalog(home.host))
    except (NotFoundError, ForbiddenError, UnauthorisedError):
        listed = []
    found |= {path for path in listed if path.startswith(f"{home.namespace}/")}
    return sorted(found)


def scan(home: Home, paths: Iterable[str]) -> list[StoredManifest]:
    """Every manifest that has a tag, and the parts of indexes, each repository for itself."""
    tags = [
        place.with_tag(tag)
        for places in each(lambda path: _tags(home, home.at(path)), paths)
        for place, tag in places
    ]
    named: dict[tuple[str, str], list[str]] = {}
    heads = each(home.registry.head, tags)
    for reference, head in zip(tags, heads, strict=True):
        if head is not None:
            named.setdefault((reference.path, head.digest), []).append(reference.tag)

    def read(place: tuple[str, str]) -> list[StoredManifest]:
        path, digest = place
        return list(_read(home, home.at(path), digest, tuple(named[place])))

    found: dict[tuple[str, str], StoredManifest] = {}
    for one in (one for several in each(read, sorted(named)) for one in several):
        # A part of an index may have a tag of its own.
        if one.tags or one.place not in found:
            found[one.place] = one
    return [found[place] for place in sorted(found)]


def _tags(home: Home, place: Reference) -> list[tuple[Reference, str]]:
    try:
        return [(place, tag) for tag in home.registry.tags(place)]
    except NotFoundError:
        return []


def _read(
    home: Home, place: Reference, digest: str, tags: tuple[str, ...]
) -> Iterator[StoredManifest]:
    try:
        manifest = home.registry.manifest(place.at(digest))
    except NotFoundError:
        return
    parts = [part for child in manifest.manifests for part in _read(home, place, child.digest, ())]
    yield from parts
    made = [part.made for part in parts if part.made is not None]
    yield StoredManifest(
        path=place.path,
        digest=digest,
        size=len(manifest.body),
        tags=tags,
        blobs={blob.digest: blob.size for blob in manifest.blobs},
        children=tuple(child.digest for child in manifest.manifests),
        made=max(made) if made else _made(home, place, manifest),
    )


def _made(home: Home, place: Reference, manifest: Manifest) -> datetime | None:
    """When the image was built, as its configuration says."""
    config = manifest.config
    if config is None or config.media_type not in _CONFIGS:
        return None
    try:
        document = json.loads(home.registry.blobs.read(place, config))
        return moment(str(document.get("created") or ""))
    except NotFoundError:
        return None
    except RegistryError:
        raise
    except (ValueError, AttributeError):
        return None
