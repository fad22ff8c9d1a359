"""Records what an image that was just published has: read in the engine, kept in the registry."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from builder.packages.inventory import Inventory
from builder.packages.versions import is_newer
from builder.reference import Reference
from builder.refresh.inventories import Inventories, Record
from builder.refresh.reading import PATHS, inventory_of
from builder.registry.content import Descriptor


class Files(Protocol):
    """What of the engine is needed here."""

    def read_files(
        self, image: str, paths: Sequence[str], *, run_id: str = ""
    ) -> Mapping[str, bytes]: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorder:
    """Makes inventories; ``hoped_for`` are the versions that a refresh makes images anew for.

    It maps an image to the ids of its packages, and these to versions.
    """

    inventories: Inventories
    engine: Files
    run_id: str = ""
    hoped_for: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

    def record(
        self, image: str, published: Reference, manifest: Descriptor, *, local: str, base: str
    ) -> tuple[str, Mapping[str, str]]:
        """The digest of the image's inventory, and what of what was hoped for did not come true.

        ``published`` is where the image is, ``local`` what the engine calls it, and ``base`` the
        image of the tree that it starts from, or "". An image that is recorded already is not read
        again, as equal digests mean equal images.

        Raises:
            BuildError: the engine cannot read it.
            RegistryError: the registry does not take the record.

        """
        hoped_for = self.hoped_for.get(image, {})
        known = "" if hoped_for else self.inventories.find(published.at(manifest.digest))
        if known:
            return known, {}
        files = self.engine.read_files(local, PATHS, run_id=self.run_id)
        inventory = inventory_of(files)
        held = still_older(inventory, hoped_for)
        record = Record(inventory=inventory, base=base, held=held)
        return self.inventories.write(published, manifest, record), held


def still_older(inventory: Inventory, hoped_for: Mapping[str, str]) -> dict[str, str]:
    """Of the versions that were hoped for, those that are newer than what there is."""
    return {
        package.id: hoped_for[package.id]
        for package in inventory.packages
        if package.id in hoped_for and is_newer(hoped_for[package.id], package.version)
    }
