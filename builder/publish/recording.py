"""Records what an image that was just published has: read in the engine, kept in the registry."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from msgspec import Struct, field

from builder.core.packages.inventory import Inventory, Package
from builder.core.packages.versions import is_newer
from builder.core.reference import Reference
from builder.publish.inventories import Inventories, Record
from builder.publish.reading import PATHS, inventory_of


class Files(Protocol):
    """What of the engine is needed here."""

    def read_files(
        self, image: str, paths: Sequence[str], *, run_id: str = ""
    ) -> Mapping[str, bytes]: ...


class Recorded(Struct, frozen=True, kw_only=True):
    """``digest`` is that of the inventory; ``held`` are the packages that stayed old in vain.

    These are lines for people.
    """

    digest: str
    held: tuple[str, ...] = ()


class Recorder(Struct, frozen=True, kw_only=True):
    """Makes inventories; ``hoped_for`` are the versions that a refresh makes images anew for.

    It maps an image to the ids of its packages, and these to versions.
    """

    inventories: Inventories
    engine: Files
    run_id: str = ""
    hoped_for: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

    def record(self, image: str, published: Reference, *, local: str, base: str) -> Recorded:
        """Have the inventory of an image in the registry.

        ``published`` is where the image is, by digest, ``local`` what the engine calls it, and
        ``base`` the image of the tree that it starts from, or "". An image that is recorded already
        is not read again, as equal digests mean equal images.

        Raises:
            BuildError: the engine cannot read it.
            RegistryError: the registry does not take the record.

        """
        hoped_for = self.hoped_for.get(image, {})
        known = "" if hoped_for else self.inventories.find(published)
        if known:
            return Recorded(digest=known)
        files = self.engine.read_files(local, PATHS, run_id=self.run_id)
        inventory = inventory_of(files)
        older = still_older(inventory, hoped_for)
        held = {package.id: hoped_for[package.id] for package in older}
        record = Record(inventory=inventory, base=base, held=held)
        return Recorded(
            digest=self.inventories.write(published, record),
            held=tuple(
                f"{image} was made anew, and {package.name} is still {package.version},"
                f" not {hoped_for[package.id]}: is it pinned? It is not tried again"
                for package in older
            ),
        )


def still_older(inventory: Inventory, hoped_for: Mapping[str, str]) -> tuple[Package, ...]:
    """The packages that are still older than what was hoped for."""
    return tuple(
        package
        for package in inventory.packages
        if package.id in hoped_for and is_newer(hoped_for[package.id], package.version)
    )
