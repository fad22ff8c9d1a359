"""Copies a release to another registry or namespace: by digest, whole or not at all.

Blobs first, those that most images share at the front, so that each crosses the line once and is
mounted from then on; then manifests and the tags of keys; release tags and the release itself last.
Whoever repeats it finds what is there and copies the rest.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import IO, cast

from msgspec import Struct, field
from msgspec.structs import replace

from builder.core.errors import PublishError
from builder.core.keys import key_tag
from builder.core.reference import Reference
from builder.core.registry_content import Content, Descriptor, Manifest
from builder.core.release import LATEST, Release, ReleasedImage
from builder.core.text import moment
from builder.publish import Tell
from builder.publish.home import Home, claimed
from builder.publish.inventories import tag_for
from builder.publish.write import Releases, artifact
from builder.registry.blobs import Stored
from builder.system.process import in_threads

_BLOBS_AT_ONCE = 8
_SHOWN_CONFLICTS = 10


class WholeImage(Struct, frozen=True, kw_only=True):
    """One image with all manifests that belong to it, each after those that it names."""

    source: Reference
    target: Reference
    image: ReleasedImage
    manifests: tuple[Manifest, ...]

    @property
    def blobs(self) -> Mapping[str, Descriptor]:
        return {blob.digest: blob for manifest in self.manifests for blob in manifest.blobs}


class BlobTransfer(Struct, frozen=True, kw_only=True):
    """One blob: where it is read, where it is wanted, and which repository there has it ("")."""

    blob: Descriptor
    source: Reference
    targets: tuple[Reference, ...]
    held: Reference | None = None


class Shipment(Struct, frozen=True, kw_only=True):
    """All that has to be moved: ``present`` counts images that are there as a whole."""

    images: int
    present: int
    todo: tuple[WholeImage, ...]
    transfers: tuple[BlobTransfer, ...]


class Promoted(Struct, frozen=True, kw_only=True):
    """What was done: bytes of blobs that were sent, mounted, and found in their place."""

    release: Release
    reference: Reference
    moved_latest: bool
    images: int
    present: int
    copied: int
    mounted: int
    existed: int


class _Tally(Struct):
    """Bytes by the way they took; counted by many threads."""

    bytes: dict[Stored, int] = field(default_factory=lambda: dict.fromkeys(Stored, 0))
    lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, stored: Stored, size: int) -> None:
        with self.lock:
            self.bytes[stored] += size


def moved(release: Release, namespace: str) -> Release:
    """The same release in another namespace: images keep their digests."""
    old = f"{release.namespace}/"

    def path(image: ReleasedImage) -> str:
        inside = image.path.startswith(old)
        return f"{namespace}/{image.path.removeprefix(old) if inside else image.name}"

    images = {name: replace(image, path=path(image)) for name, image in release.images.items()}
    return replace(release, namespace=namespace, images=images)


def transfers(
    todo: Iterable[WholeImage], held: Mapping[str, Reference]
) -> tuple[BlobTransfer, ...]:
    """The blobs that these images lack, those first that most of them share, then large ones."""
    wanted: dict[str, list[WholeImage]] = {}
    for whole in todo:
        for digest in whole.blobs:
            wanted.setdefault(digest, []).append(whole)
    found = [
        BlobTransfer(
            blob=wholes[0].blobs[digest],
            source=wholes[0].source,
            targets=tuple({str(whole.target): whole.target for whole in wholes}.values()),
            held=held.get(digest),
        )
        for digest, wholes in wanted.items()
    ]
    found.sort(key=lambda one: (-len(one.targets), -one.blob.size, one.blob.digest))
    return tuple(found)


def load(source: Home, target: Home, release: Release) -> Shipment:
    """Look what is where.

    Raises:
        PublishError: a tag is taken at the target, or the release is not whole at its source.

    """
    refuse_conflicts(target, moved(release, target.namespace))
    goal = moved(release, target.namespace)
    pairs = [(release.images[name], goal.images[name]) for name in sorted(release.images)]

    def whole(pair: tuple[ReleasedImage, ReleasedImage]) -> WholeImage:
        image, there = pair
        place = source.at(image.path)
        manifests = [*_manifests(source, place.at(image.digest))]
        if image.inventory:
            manifests += _manifests(source, place.at(image.inventory))
        return WholeImage(
            source=place, target=target.at(there.path), image=there, manifests=tuple(manifests)
        )

    def is_there(whole: WholeImage) -> bool:
        return all(
            target.registry.head(whole.target.at(digest)) is not None
            for digest in filter(None, (whole.image.digest, whole.image.inventory))
        )

    wholes = in_threads(whole, pairs)
    there = in_threads(is_there, wholes)
    held = {
        digest: one.target
        for one, present in zip(wholes, there, strict=True)
        if present
        for digest in one.blobs
    }
    todo = tuple(one for one, present in zip(wholes, there, strict=True) if not present)
    return Shipment(
        images=len(wholes),
        present=len(wholes) - len(todo),
        todo=todo,
        transfers=transfers(todo, held),
    )


def carry(source: Home, target: Home, release: Release, shipment: Shipment, tell: Tell) -> Promoted:
    """Have the release at the target, as ``load`` found it to be wanted there."""
    tally = _Tally()
    same = source.host == target.host
    in_threads(
        lambda one: _transfer(target, one, tally, same=same),
        shipment.transfers,
        at_once=_BLOBS_AT_ONCE,
    )
    goal = moved(release, target.namespace)
    in_threads(lambda one: _put_manifests(target, one), shipment.todo)
    images = [goal.images[name] for name in sorted(goal.images)]
    in_threads(lambda image: _put_key(target, image), images)
    with claimed(target, f"promotion of {release.tag}", tell) as claim:
        # Much time may have passed since the first look.
        refuse_conflicts(target, goal)
        in_threads(lambda image: _put_tag(target, image), images)
        latest = _is_newest(target.releases, goal)
        claim.check()
        reference = target.releases.write(goal, tags=(LATEST,) if latest else ())
    return Promoted(
        release=goal,
        reference=reference,
        moved_latest=latest,
        images=shipment.images,
        present=shipment.present,
        copied=tally.bytes[Stored.UPLOADED],
        mounted=tally.bytes[Stored.MOUNTED],
        existed=tally.bytes[Stored.EXISTED],
    )


def forecast(source: Home, target: Home, shipment: Shipment) -> tuple[int, int]:
    """How many bytes would be sent, and how many mounted, without doing it."""
    same = source.host == target.host

    def sent(one: BlobTransfer) -> int:
        if same or one.held is not None:
            return 0
        return 0 if target.registry.blobs.exists(one.targets[0], one.blob.digest) else one.blob.size

    sending = in_threads(sent, shipment.transfers)
    total = sum(one.blob.size * len(one.targets) for one in shipment.transfers)
    first = sum(one.blob.size for one in shipment.transfers if not same and one.held is None)
    return sum(sending), total - first


def refuse_conflicts(target: Home, goal: Release) -> None:
    """Raise PublishError if a tag of the release is at the target with other content."""
    expected = {
        str(reference): digest
        for image in goal.images.values()
        for reference, digest in [(target.at(image.path).with_tag(image.tag), image.digest)]
    }
    own = target.releases.repository.with_tag(goal.tag)
    expected[str(own)] = artifact(goal)[0].digest

    def conflict(name: str) -> str:
        found = target.registry.head(Reference.parse(name))
        taken = found is not None and found.digest != expected[name]
        return f"{name} is {found.digest} there" if found is not None and taken else ""

    conflicts = [text for text in in_threads(conflict, sorted(expected)) if text]
    if conflicts:
        more = len(conflicts) - _SHOWN_CONFLICTS
        shown = [*conflicts[:_SHOWN_CONFLICTS], *([f"and {more} more"] if more > 0 else [])]
        raise PublishError(
            f"{goal.tag} is at {target.address} already, with other content; nothing was tagged:\n"
            + "\n".join(shown),
            hint="a release tag never changes its content; promote under another namespace",
        )


# --- parts --------------------------------------------------------------------------------------


def _manifests(home: Home, reference: Reference) -> Sequence[Manifest]:
    manifest = home.registry.manifest(reference)
    found: list[Manifest] = []
    for child in manifest.manifests:
        found += _manifests(home, reference.at(child.digest))
    return [*found, manifest]


def _transfer(target: Home, one: BlobTransfer, tally: _Tally, *, same: bool) -> None:
    blobs = target.registry.blobs
    content = Content(
        digest=one.blob.digest, size=one.blob.size, open=_opener(target, one.source, one.blob)
    )
    origin = one.held or (one.source if same else None)
    for place in one.targets:
        tally.add(blobs.put(place, content, mount_from=origin), one.blob.size)
        origin = origin or place


def _opener(home: Home, source: Reference, blob: Descriptor) -> Callable[[], IO[bytes]]:
    return lambda: cast("IO[bytes]", home.registry.blobs.open(source, blob.digest, size=blob.size))


def _put_manifests(target: Home, whole: WholeImage) -> None:
    for manifest in whole.manifests:
        target.registry.put(whole.target.at(manifest.digest), manifest)
        if manifest.digest == whole.image.inventory:
            # Without a tag of its own a registry may take it for rubbish.
            target.registry.put(whole.target.with_tag(tag_for(whole.image.digest)), manifest)


def _put_key(target: Home, image: ReleasedImage) -> None:
    """A key that is taken stays: what it names was made of the same inputs."""
    place = target.at(image.path)
    if target.registry.head(place.with_tag(key_tag(image.key, image.inputs.tests))) is None:
        target.registry.retag(place.at(image.digest), key_tag(image.key, image.inputs.tests))


def _put_tag(target: Home, image: ReleasedImage) -> None:
    place = target.at(image.path)
    if target.registry.head(place.with_tag(image.tag)) is None:
        target.registry.retag(place.at(image.digest), image.tag)


def _is_newest(releases: Releases, goal: Release) -> bool:
    """Whether no newer release is the latest there; one of a tree with edits never is."""
    if goal.dirty:
        return False
    latest = releases.find(LATEST)
    if latest is None or latest.tag == goal.tag:
        return True
    there, here = moment(latest.created), moment(goal.created)
    return there is None or (here is not None and here >= there)
