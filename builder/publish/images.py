"""Puts the images of a run into the registry: under their keys first, and tags when all are there.

The Docker Engine pushes what it has under the name of the key, which other runs may use in the same
engine.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Protocol

from msgspec import Struct

from builder.core import events
from builder.core.codec import MalformedError, decode
from builder.core.engine.answers import LocalImage, Pushed
from builder.core.engine.messages import Fault, PushFailedError
from builder.core.errors import PublishError
from builder.core.keys import KEY
from builder.core.plan import Plan, Retag
from builder.core.published import other_content
from builder.core.reference import Reference
from builder.core.registry_content import IMAGE_CONFIGS, BlobSource, Manifest
from builder.core.registry_faults import ForbiddenError, RefusedError
from builder.docker.daemon import Amounts, Daemon
from builder.publish import MadeImage, Progress, Publisher, Tell
from builder.publish.claim import Claim
from builder.registry.client import Registry
from builder.system.process import in_threads

# Two runs get in each other's way for the few milliseconds between a tag and its push.
_ATTEMPTS = 10
_LONGEST_WAIT = 0.2
_NO_KEY = "none"

Record = Callable[[MadeImage, str, Tell], None]
"""Notes what an image, which is published under a digest, has of packages."""


class ImagePublisher:
    """The Publisher of one run; nobody else may publish, and tags may mean what they like."""

    def __init__(
        self,
        registry: Registry,
        names: Names,
        *,
        run_id: str,
        cancel: threading.Event,
        record: Record,
    ) -> None:
        self._registry = registry
        self._names = names
        self._run_id = run_id
        self._cancel = cancel
        self._record = record
        # Written by many threads, each for its own image.
        self._manifests: dict[str, Manifest] = {}
        self._blobs: dict[Reference, BlobSource] = {}

    @property
    def manifests(self) -> Mapping[str, Manifest]:
        return self._manifests

    def push(self, image: MadeImage, progress: Progress, tell: Tell) -> events.Pushed:
        if image.blobs is not None:
            return self._store(image, image.blobs)
        with staged(
            self._names,
            image.local,
            str(image.staged),
            run_id=self._run_id,
            progress=progress,
            cancel=self._cancel,
        ) as pushed:
            self._record(image, pushed.digest, tell)
        return events.Pushed(digest=pushed.digest, uploaded=pushed.uploaded)

    def _store(self, image: MadeImage, blobs: BlobSource) -> events.Pushed:
        """Under its key, or, where nobody looks for that, the blobs alone."""
        uploaded = blobs.upload(image.release) if image.bare else blobs.store(image.staged)
        digest = blobs.manifest.digest
        self._manifests[digest] = blobs.manifest
        self._blobs[image.release.at(digest)] = blobs
        return events.Pushed(digest=digest, uploaded=uploaded)

    def claim(self, tell: Tell) -> None:
        """Do nothing."""

    def tag(self, target: Reference, digest: str) -> str:
        """Set it with one request: what it names is in the registry already."""
        place = target.at(digest)
        blobs = self._blobs.get(place)
        if blobs is not None:
            blobs.store(target)  # brings what the repository turns out to lack after all
            return digest
        manifest = self._manifests.get(digest)
        if manifest is None:
            manifest = self._manifests[digest] = self._registry.manifest(place)
        self._registry.put(target, manifest)
        return digest


class SolePublisher:
    """A Publisher that holds the claim, and with ``immutable`` keeps release tags as they are.

    ``promised`` are the release tags of images that the registry has, to their digests; ``moving``
    are tags that mean another image in each release. ``keys`` say what the release tags are for.
    """

    def __init__(
        self,
        publisher: Publisher,
        registry: Registry,
        claim: Claim,
        *,
        immutable: bool,
        promised: Mapping[Reference, str],
        moving: frozenset[Reference] = frozenset(),
        keys: Mapping[Reference, str] | None = None,
    ) -> None:
        self._publisher = publisher
        self._registry = registry
        self._claim = claim
        self._immutable = immutable
        self._promised = dict(promised)
        self._moving = moving
        self._keys = keys or {}
        # By repository what its release tag names instead, made of the same.
        self._adopted: dict[str, str] = {}

    @property
    def manifests(self) -> Mapping[str, Manifest]:
        return self._publisher.manifests

    def push(self, image: MadeImage, progress: Progress, tell: Tell) -> events.Pushed:
        pushed = self._publisher.push(image, progress, tell)
        self._promised[image.release] = pushed.digest
        if image.blobs is None:
            # It is looked at again with the claim; but builds take their time until then.
            self._refuse_other_content(image.release)
        return pushed

    def claim(self, tell: Tell) -> None:
        self._claim.take(tell)
        # Before any tag of this release is set, so that all of them stay as they are.
        in_threads(self._refuse_other_content, list(self._promised) if self._immutable else ())
        for repository, digest in sorted(self._adopted.items()):
            tell(
                f"{repository} keeps {digest}, which an earlier run has made of the same and tagged"
            )

    def tag(self, target: Reference, digest: str) -> str:
        digest = self._adopted.get(target.repository, digest)
        if target in self._moving:
            # Whoever took over may have moved it on by now.
            self._claim.check()
        elif target.repository in self._adopted:
            return digest
        else:
            self._claim.keep()
        try:
            self._publisher.tag(target, digest)
        except (RefusedError, ForbiddenError):
            # Some registries set no tag twice, even to what it names.
            named = self._registry.head(target)
            if named is None or named.digest != digest:
                raise
        return digest

    def _refuse_other_content(self, release: Reference) -> None:
        if not self._immutable:
            return
        digest = self._promised[release]
        named = self._registry.head(release)
        if named is None or named.digest == digest:
            return
        place = release.at(named.digest)
        if key_of(self._registry, place) != self._keys.get(release, _NO_KEY):
            raise other_content(str(release), named.digest, digest)
        self._adopted[release.repository] = named.digest


class _ImageConfig(Struct, frozen=True, rename={"labels": "Labels"}):
    labels: dict[str, str] | None = None


class _Config(Struct, frozen=True):
    """https://github.com/opencontainers/image-spec/blob/main/config.md."""

    config: _ImageConfig = _ImageConfig()


def key_of(registry: Registry, image: Reference) -> str:
    """What an image in one of our repositories was made of, as its label says; "" for others.

    Whoever can set a release tag there could have set it to anything: the label is as good as that.
    """
    manifest = registry.manifest(image)
    if manifest.config is None or manifest.config.media_type not in IMAGE_CONFIGS:
        return ""
    try:
        config = decode(registry.blobs.read(image, manifest.config), _Config, what="the config")
    except MalformedError:
        return ""
    return (config.config.labels or {}).get(KEY, "")


def open_publisher(
    registry: Registry,
    engine: Daemon,
    claim: Claim,
    plan: Plan,
    *,
    immutable: bool,
    adopts: bool,
    hoped_for: Mapping[str, Mapping[str, str]],
    run_id: str,
    cancel: threading.Event,
) -> SolePublisher:
    """The Publisher of a run; ``hoped_for`` are the versions that a refresh makes images for.

    ``adopts``: an image of the same key that has a release tag already may keep it.
    """

    def record(image: MadeImage, digest: str, tell: Tell) -> None:
        from builder.publish.inventories import record  # noqa: PLC0415 - only for builds

        published = image.release.at(digest)
        wanted = hoped_for.get(image.name, {})
        for text in record(registry, engine, image, published, hoped_for=wanted, run_id=run_id):
            tell(text)

    images = ImagePublisher(registry, engine, run_id=run_id, cancel=cancel, record=record)
    promised = {step.release: step.digest for step in plan.steps if isinstance(step, Retag)}
    return SolePublisher(
        images,
        registry,
        claim,
        immutable=immutable,
        promised=promised,
        moving=frozenset(
            step.repository.with_tag(tag) for step in plan.steps for tag in step.moving
        ),
        keys={step.release: step.key for step in plan.steps} if adopts else {},
    )


class Names(Protocol):
    """The part of an engine that names images and pushes them by name."""

    def tag(self, reference: str, target: str) -> None: ...

    def untag(self, reference: str) -> None: ...

    def inspect(self, reference: str) -> LocalImage | None: ...

    def push(
        self, reference: str, progress: Amounts, cancel: threading.Event | None = None
    ) -> Pushed: ...


@contextmanager
def staged(
    names: Names,
    image_id: str,
    name: str,
    *,
    run_id: str,
    progress: Amounts,
    cancel: threading.Event,
) -> Iterator[Pushed]:
    """Push the image as ``name``, which the engine has for the while.

    Another run of the same tree may give the name to an image of its own, or take it away, at any
    moment. So a push counts only if the name still is this image's when it has ended; and a name
    that no other run knows keeps the image, which would go with its last one.

    Raises:
        PublishError: the registry does not take it, or the name was another's each time.

    """
    own = f"{name}-{run_id}"
    names.tag(image_id, own)
    try:
        yield _push(names, image_id, name, progress, cancel)
    finally:
        names.untag(name)
        names.untag(own)


def _push(
    names: Names, image_id: str, name: str, progress: Amounts, cancel: threading.Event
) -> Pushed:
    for attempt in range(1, _ATTEMPTS + 1):
        names.tag(image_id, name)
        pushed = _push_own(names, image_id, name, progress, cancel)
        if pushed is not None:
            return pushed
        cancel.wait(random.uniform(0, attempt * _LONGEST_WAIT))  # noqa: S311 - no secret
    raise PublishError(
        f"cannot push {name}: other runs on this engine gave that name to images of their own,"
        f" {_ATTEMPTS} times",
        hint="let one run of a commit end before the next begins, or give each its own engine",
    )


def _push_own(
    names: Names, image_id: str, name: str, progress: Amounts, cancel: threading.Event
) -> Pushed | None:
    try:
        pushed = names.push(name, progress, cancel)
    except PushFailedError as error:
        if error.fault is not Fault.UNTAGGED:
            raise
        return None
    now = names.inspect(name)
    return pushed if now is not None and now.id == image_id else None
