"""Whether everything that a release names is still in the registry, down to the last blob."""

from __future__ import annotations

from collections.abc import Iterable

from msgspec import Struct

from builder.core.keys import key_tag
from builder.core.reference import Reference
from builder.core.registry_content import Descriptor, Manifest
from builder.core.registry_faults import DigestMismatchError, NotFoundError
from builder.core.release import Release, ReleasedImage
from builder.publish.home import Home
from builder.system.process import in_threads

_BLOCK = 1 << 20
# Whole layers are read: more at a time would only share the same line.
_DOWNLOADS = 4


class Defect(Struct, frozen=True, kw_only=True):
    """What is wrong with one image, in one line."""

    image: str
    text: str

    def __str__(self) -> str:
        return f"{self.image}: {self.text}"


class Verdict(Struct, frozen=True, kw_only=True):
    """``blobs`` and ``size`` count what was looked at, each blob once per repository.

    ``notes`` are no defects: nothing of the release is lost.
    """

    release: Release
    blobs: int
    size: int
    defects: tuple[Defect, ...]
    notes: tuple[Defect, ...]


class _Looked(Struct, frozen=True, kw_only=True):
    """What was found of one image: its blobs by repository, and what is wrong so far."""

    image: str
    blobs: tuple[tuple[Reference, Descriptor], ...] = ()
    defects: tuple[Defect, ...] = ()
    notes: tuple[Defect, ...] = ()


def verify_release(home: Home, release: Release, *, deep: bool) -> Verdict:
    """Look for every image, its blobs and its tags; ``deep`` reads the blobs, too.

    Raises:
        RegistryError: the registry cannot be asked; what it says of the images is no error.

    """
    images = [release.images[name] for name in sorted(release.images)]
    looked = in_threads(lambda image: _look(home, image), images)
    wanted = {
        (str(place), blob.digest): (one.image, place, blob)
        for one in looked
        for place, blob in one.blobs
    }

    def gone(found: tuple[str, Reference, Descriptor]) -> Defect | None:
        image, place, blob = found
        if home.registry.blobs.exists(place, blob.digest):
            return None
        return Defect(image=image, text=f"the blob {blob.digest} is gone")

    missing = [defect for defect in in_threads(gone, wanted.values()) if defect is not None]
    absent = {defect.text for defect in missing}
    spoilt = _read_all(home, wanted.values(), absent) if deep else []
    defects = [*(defect for one in looked for defect in one.defects), *missing, *spoilt]
    return Verdict(
        release=release,
        blobs=len(wanted),
        size=sum(blob.size for _, _, blob in wanted.values()),
        defects=tuple(sorted(defects, key=str)),
        notes=tuple(note for one in looked for note in one.notes),
    )


def _look(home: Home, image: ReleasedImage) -> _Looked:
    place = home.at(image.path)
    defects, notes = _tags(home, image, place)
    blobs: list[tuple[Reference, Descriptor]] = []
    for digest in filter(None, (image.digest, image.inventory)):
        try:
            blobs += [(place, blob) for blob in _blobs(home, place.at(digest))]
        except NotFoundError:
            what = "manifest" if digest == image.digest else "inventory"
            defects.append(Defect(image=image.name, text=f"the {what} {digest} is gone"))
        except DigestMismatchError as error:
            defects.append(Defect(image=image.name, text=error.message))
    return _Looked(image=image.name, blobs=tuple(blobs), defects=tuple(defects), notes=tuple(notes))


def _blobs(home: Home, reference: Reference) -> list[Descriptor]:
    manifest: Manifest = home.registry.manifest(reference)
    found = list(manifest.blobs)
    for child in manifest.manifests:
        found += _blobs(home, reference.at(child.digest))
    return found


def _tags(home: Home, image: ReleasedImage, place: Reference) -> tuple[list[Defect], list[Defect]]:
    defects: list[Defect] = []
    notes: list[Defect] = []
    key = key_tag(image.key, image.inputs.tests)
    for tag in (image.tag, key):
        named = home.registry.head(place.with_tag(tag))
        if named is None:
            # What was put together in process may have none: it is made again, not looked for.
            if tag == key and image.base:
                continue
            defects.append(Defect(image=image.name, text=f"the tag {tag} is gone"))
        elif named.digest != image.digest:
            text = f"the tag {tag} names {named.digest} instead of {image.digest}"
            # A later build of the same inputs takes the key's tag with it, and may.
            (notes if tag == key else defects).append(Defect(image=image.name, text=text))
    return defects, notes


def _read_all(
    home: Home, wanted: Iterable[tuple[str, Reference, Descriptor]], absent: set[str]
) -> list[Defect]:
    """A registry keeps a blob once, so each is read in the first repository that has it."""
    once: dict[str, tuple[str, Reference, Descriptor]] = {}
    for image, place, blob in wanted:
        if f"the blob {blob.digest} is gone" not in absent:
            once.setdefault(blob.digest, (image, place, blob))

    def read(found: tuple[str, Reference, Descriptor]) -> Defect | None:
        image, place, blob = found
        try:
            with home.registry.blobs.open(place, blob.digest, size=blob.size) as reader:
                size = sum(len(block) for block in iter(lambda: reader.read(_BLOCK) or b"", b""))
        except (DigestMismatchError, NotFoundError) as error:
            return Defect(image=image, text=error.message)
        if size == blob.size:
            return None
        return Defect(image=image, text=f"{blob.digest} has {size} bytes, not {blob.size}")

    return [defect for defect in in_threads(read, once.values(), at_once=_DOWNLOADS) if defect]
