"""Where releases are kept: a namespace of a registry, its releases, and all that it stores."""

from __future__ import annotations

import json
import os
import secrets
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path

from msgspec import Struct

from builder.config.load import find_config
from builder.core.errors import ConfigError, PublishError
from builder.core.options import TreeOptions
from builder.core.reference import Reference
from builder.core.registry_content import IMAGE_CONFIGS, Manifest
from builder.core.registry_faults import (
    ForbiddenError,
    NotFoundError,
    RegistryError,
    UnauthorisedError,
    UnreachableError,
)
from builder.core.release import LATEST, Release
from builder.core.retention import Shelved, StoredManifest
from builder.core.settings.config import DEFAULT_ADDRESS, LOCAL, Config, registry_host
from builder.core.text import moment
from builder.publish import Tell
from builder.publish.claim import Claim, RegistryMarks
from builder.publish.write import Releases
from builder.registry.client import Registry
from builder.system.files import state_dir
from builder.system.process import in_threads
from builder.system.resources import SystemClock
from builder.tree.read import load_config


class Home(Struct, frozen=True, kw_only=True):
    """One namespace of one registry; ``config`` is None where no build.toml was needed."""

    registry: Registry
    host: str
    namespace: str
    config: Config | None = None

    @property
    def releases(self) -> Releases:
        return Releases(self.registry, host=self.host, namespace=self.namespace)

    @property
    def address(self) -> str:
        return f"{self.host}/{self.namespace}"

    def at(self, path: str) -> Reference:
        """A repository of this registry."""
        return Reference(path=path, registry=self.host)


@contextmanager
def open_home(options: TreeOptions, environ: Mapping[str, str]) -> Iterator[Home]:
    """The registry and namespace of build.toml, or of --registry and --namespace.

    With both options no build.toml is needed: who deploys may have no tree.
    """
    config = _config(options)
    if config is None:
        host = DEFAULT_ADDRESS if options.registry in (None, LOCAL) else str(options.registry)
        namespace, plain = str(options.namespace), frozenset[str]()
    else:
        host, namespace = registry_host(config), config.project.namespace
        plain = frozenset(config.publish.plain_http)
    with Registry.connect(environ, clock=SystemClock(), plain_http=plain) as registry:
        try:
            yield Home(registry=registry, host=host, namespace=namespace, config=config)
        except UnreachableError as error:
            if error.hint is not None and host == DEFAULT_ADDRESS and host in error.message:
                raise PublishError(error.message, hint="ocbuild registry start") from error
            raise


@contextmanager
def claimed(home: Home, doing: str, tell: Tell) -> Iterator[Claim]:
    """Be the only one who changes what is published there; ``doing`` says to others what for.

    Raises:
        RegistryError: it cannot be asked or written to.

    """
    claim = Claim(
        RegistryMarks(home.registry, home.releases.repository),
        f"{doing} {secrets.token_hex(3)} on {os.uname().nodename}",
        place=str(home.releases.repository),
        clock=SystemClock(),
        cancel=threading.Event(),
    )
    claim.take(tell)
    try:
        yield claim
    finally:
        with suppress(RegistryError):  # others take it over after a minute
            claim.free()


def _config(options: TreeOptions) -> Config | None:
    if options.config is None and options.registry and options.namespace:
        try:
            find_config(Path.cwd(), None)
        except ConfigError:
            Reference.parse(f"{options.namespace}/image")
            return None
    return load_config(options)


def start_registry(config: Config, environ: Mapping[str, str], tell: Tell) -> None:
    """Start the embedded registry, if that is the one to publish to.

    Raises:
        PublishError: it cannot be started.

    """
    if config.project.registry != LOCAL:
        return
    from builder.registry.embedded import EmbeddedRegistry  # noqa: PLC0415 - only for this

    embedded = EmbeddedRegistry(state=state_dir(environ))
    if not embedded.status().running:
        tell(f"starting the embedded registry at {embedded.address}")
        embedded.start()


def choose(home: Home, tag: str | None) -> Release:
    """The release of this tag; without one the latest, or else the newest.

    Raises:
        PublishError: there is none; the hint says what there is.

    """
    releases = home.releases
    found = releases.find(tag or LATEST)
    if found is not None:
        return found
    if not list(releases.tags()):
        raise nothing_yet(home)
    if tag is not None:
        return releases.read(tag)
    shelf, _ = shelve(home)
    if not shelf:
        raise nothing_yet(home)
    return shelf[0].release


def nothing_yet(home: Home) -> PublishError:
    return PublishError(
        f"there is no release in {home.address} yet",
        hint="`ocbuild all --push` publishes one; --registry and --namespace look elsewhere",
    )


def shelve(home: Home) -> tuple[list[Shelved], list[PublishError]]:
    """All releases, newest first, each with all its tags; and what is there and is none."""
    releases = home.releases

    def digest(tag: str) -> str:
        found = home.registry.head(releases.repository.with_tag(tag))
        return "" if found is None else found.digest

    tags = sorted(releases.tags())
    by_digest: dict[str, list[str]] = {}
    for tag, named in zip(tags, in_threads(digest, tags), strict=True):
        # A tag may go between the list and the look.
        if named:
            by_digest.setdefault(named, []).append(tag)

    def read(digest: str) -> Shelved | PublishError | None:
        try:
            found = releases.find(by_digest[digest][0])
        except RegistryError:
            raise
        except PublishError as error:
            return error
        if found is None:
            return None
        return Shelved(release=found, digest=digest, tags=tuple(by_digest[digest]))

    read_ones = in_threads(read, sorted(by_digest))
    shelf = newest_first([one for one in read_ones if isinstance(one, Shelved)])
    return shelf, [one for one in read_ones if isinstance(one, PublishError)]


def newest_first(shelf: Sequence[Shelved]) -> list[Shelved]:
    """By time; of the same second, that one is newer which goes on from the other."""
    previous = {one.release.tag: one.release.previous for one in shelf}

    def generation(tag: str) -> int:
        seen = {tag}
        while (tag := previous.get(tag, "")) and tag not in seen:
            seen.add(tag)
        return len(seen)

    def rank(one: Shelved) -> tuple[float, int, str]:
        return (_sortable(one.release), generation(one.release.tag), one.release.tag)

    return sorted(shelf, key=rank, reverse=True)


def _sortable(release: Release) -> float:
    at = moment(release.created)
    return 0.0 if at is None else at.timestamp()


# -- all that is stored --------------------------------------------------------------------------


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
        for places in in_threads(lambda path: _tags(home, home.at(path)), paths)
        for place, tag in places
    ]
    named: dict[tuple[str, str], list[str]] = {}
    heads = in_threads(home.registry.head, tags)
    for reference, head in zip(tags, heads, strict=True):
        if head is not None:
            named.setdefault((reference.path, head.digest), []).append(reference.tag)

    def read(place: tuple[str, str]) -> list[StoredManifest]:
        path, digest = place
        return list(_read(home, home.at(path), digest, tuple(named[place])))

    found: dict[tuple[str, str], StoredManifest] = {}
    for one in (one for several in in_threads(read, sorted(named)) for one in several):
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
    if config is None or config.media_type not in IMAGE_CONFIGS:
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
