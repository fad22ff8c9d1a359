"""Inventories in a registry: one small artifact beside each image that was made.

An artifact names its image as its subject, so a registry that knows of referrers lists it; its tag
is made of the image's digest, so it is found, and kept, in one that does not.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Protocol

from msgspec import Struct, field

from builder.core.errors import PublishError
from builder.core.packages.inventory import ARTIFACT_TYPE, PATHS, Inventory, Package, inventory_of
from builder.core.packages.sources import is_newer
from builder.core.reference import Reference
from builder.core.registry_content import Content, Descriptor, Manifest, is_artifact, make_artifact
from builder.core.registry_faults import NotFoundError
from builder.publish import MadeImage
from builder.registry.client import Registry

# The image of the tree that it starts from, and the packages that a refresh could not renew.
BASE, HELD = "ocbuild.base", "ocbuild.held"
_DIGITS = 40


class Record(Struct, frozen=True, kw_only=True):
    """The inventory of one image, and what is known of that image besides.

    ``held`` maps the ids of packages to the versions that a refresh could not bring in.
    """

    inventory: Inventory
    base: str = ""
    held: Mapping[str, str] = field(default_factory=dict)


class Inventories:
    """Reads and writes them; equal contents are one blob, however many images have it."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    def find(self, image: Reference) -> str:
        """The digest of the artifact for an image that is named by digest; "" if it has none."""
        found = self._registry.head(image.with_tag(tag_for(image.digest)))
        return "" if found is None else found.digest

    def read(self, artifact: Reference) -> Record | None:
        """What an artifact, by its digest, says; None if the registry no longer has it.

        Raises:
            RegistryError: the registry cannot be asked.
            PublishError: what is there is no inventory.

        """
        try:
            manifest = self._registry.manifest(artifact)
            if not is_artifact(manifest, ARTIFACT_TYPE):
                raise PublishError(f"{artifact} is no inventory of ocbuild")
            content = self._registry.blobs.read(artifact, manifest.layers[0])
        except NotFoundError:
            return None
        return Record(
            inventory=Inventory.from_bytes(content, str(artifact)),
            base=manifest.annotations.get(BASE, ""),
            held=_held(manifest.annotations.get(HELD, "{}"), artifact),
        )

    def write(self, image: Reference, record: Record) -> str:
        """Store what is known of an image that is named by digest; the digest of the artifact.

        Raises:
            RegistryError: the registry does not take it, or does not have the image.

        """
        subject = self._registry.head(image)
        if subject is None:
            raise PublishError(f"{image} is not there, so nothing can be recorded of it")
        manifest, parts = artifact(subject, record)
        for part in parts:
            self._registry.blobs.put(image, part)
        return self._registry.put(image.with_tag(tag_for(image.digest)), manifest).digest


def tag_for(digest: str) -> str:
    """The tag of the artifact about the image with this digest."""
    return f"inventory-{digest.partition(':')[2][:_DIGITS]}"


def artifact(subject: Descriptor, record: Record) -> tuple[Manifest, tuple[Content, ...]]:
    """The manifest of an inventory, and the blobs that must be there before it."""
    annotations = {BASE: record.base}
    if record.held:
        annotations[HELD] = json.dumps(dict(record.held), sort_keys=True)
    data = record.inventory.as_bytes()
    return make_artifact(ARTIFACT_TYPE, data, annotations, subject=subject)


def _held(text: str, where: Reference) -> dict[str, str]:
    try:
        return {str(name): str(version) for name, version in json.loads(text).items()}
    except (ValueError, AttributeError) as error:
        raise PublishError(f"{where} says what is held in a way that cannot be read") from error


class FileReader(Protocol):
    """What of the engine is needed here."""

    def read_files(
        self, image: str, paths: Sequence[str], *, run_id: str = ""
    ) -> Mapping[str, bytes]: ...


def record(
    registry: Registry,
    engine: FileReader,
    image: MadeImage,
    published: Reference,
    *,
    hoped_for: Mapping[str, str],
    run_id: str = "",
) -> tuple[str, ...]:
    """Have the inventory of an image in the registry, so that nobody has to pull it to know.

    ``published`` is where the image is, by digest. An image that is recorded already is not read
    again, as equal digests mean equal images. ``hoped_for`` maps the ids of packages to the
    versions that a refresh makes the image anew for; what is returned are lines for people, about
    those that stayed old in vain.

    Raises:
        BuildError: the engine cannot read it.
        RegistryError: the registry does not take the record.

    """
    inventories = Inventories(registry)
    if not hoped_for and inventories.find(published):
        return ()
    inventory = inventory_of(engine.read_files(image.local, PATHS, run_id=run_id))
    older = still_older(inventory, hoped_for)
    held = {package.id: hoped_for[package.id] for package in older}
    inventories.write(published, Record(inventory=inventory, base=image.base, held=held))
    return tuple(
        f"{image.name} was made anew, and {package.name} is still {package.version},"
        f" not {hoped_for[package.id]}: is it pinned? It is not tried again"
        for package in older
    )


def still_older(inventory: Inventory, hoped_for: Mapping[str, str]) -> tuple[Package, ...]:
    """The packages that are still older than what was hoped for."""
    return tuple(
        package
        for package in inventory.packages
        if package.id in hoped_for and is_newer(hoped_for[package.id], package.version)
    )
