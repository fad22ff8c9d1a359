"""Compares a release with what bases and archives are now: no engine, and no image is pulled."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from msgspec import Struct, field

from builder.core.bases import IMAGE_SCHEME, Pin
from builder.core.errors import OcbuildError
from builder.core.packages.inventory import PackageSource
from builder.core.reference import Reference
from builder.core.release import Release, ReleasedImage
from builder.core.settings.config import Config
from builder.core.stale import Facts, StaleImages, judge
from builder.engines.bases import wanted_reference
from builder.publish.inventories import Inventories
from builder.refresh.archives import Archives, Offered
from builder.registry.client import Registry
from builder.system.process import in_threads

ASKED_AT_ONCE = 8
NOTHING = Offered(indexes={}, faults={})


class Check(Struct, frozen=True, kw_only=True):
    """What a check found; ``now`` are the digests that the bases have now, or are locked to.

    ``unchecked`` has a line for each base and source that could not be asked. ``made_here`` are the
    bases that no registry has: their packages are compared like all others. ``locked`` are those
    that have moved, but that build.lock holds.
    """

    release: Release
    verdict: StaleImages
    market: Offered
    now: Mapping[str, str] = field(default_factory=dict)
    unchecked: tuple[str, ...] = ()
    made_here: tuple[str, ...] = ()
    locked: tuple[str, ...] = ()

    @property
    def blind(self) -> bool:
        """Whether nothing at all could be asked."""
        return bool(self.unchecked) and not self.now and not self.market.indexes


def check(
    release: Release,
    config: Config,
    registry: Registry,
    archives: Archives,
    *,
    host: str,
    images: frozenset[str],
    among: frozenset[str],
    pins: Mapping[str, Pin],
) -> Check:
    """Look for what is stale in the images of ``among``; ``host`` is the release's registry.

    ``images`` are all that the tree has: what it no longer has is not made anew. ``pins`` are the
    bases that must not move.

    Raises:
        RegistryError: the registry of the release cannot be asked.

    """
    known = [image for image in release.images.values() if image.name in images]
    facts = _facts(known, Inventories(registry), host)
    asked = [facts[name] for name in facts if name in among]
    bases: Mapping[str, str | OcbuildError | None] = {}
    if config.refresh.bases:
        bases = _ask_bases({text for one in asked for text in one.bases}, config, registry)
    market = archives.read(_wanted(asked)) if config.refresh.packages else NOTHING
    found = {text: one for text, one in bases.items() if isinstance(one, str)}
    silent = {text: one for text, one in bases.items() if isinstance(one, OcbuildError)}
    made_here = tuple(text for text in silent if _is_made_here(text, config))
    held = {text: pins[text].digest for text in found if text in pins and not pins[text].local}
    now = {**found, **held}
    return Check(
        release=release,
        verdict=judge(facts, now=now, offers=market.offers, among=among),
        market=market,
        now=now,
        unchecked=(
            *(f"base {text}: {silent[text].message}" for text in silent if text not in made_here),
            *(f"packages of {source}: {text}" for source, text in market.faults.items()),
        ),
        made_here=made_here,
        locked=tuple(text for text, digest in held.items() if digest != found[text]),
    )


def _facts(
    images: Sequence[ReleasedImage], inventories: Inventories, host: str
) -> dict[str, Facts]:
    by_name = {image.name: image for image in images}

    def one(image: ReleasedImage) -> Facts:
        record = None
        holder = image
        while holder.base in by_name:  # what was put together in process has its base's packages
            holder = by_name[holder.base]
        if holder.inventory:
            record = inventories.read(holder.reference(host).at(holder.inventory))
        return Facts(
            base=image.base or (record.base if record else ""),
            parents=image.inputs.parents,
            bases=image.inputs.bases,
            inventory=record.inventory if record else None,
            held=record.held if record else {},
        )

    records = in_threads(one, images, at_once=ASKED_AT_ONCE)
    return dict(zip((image.name for image in images), records, strict=True))


def _ask_bases(
    texts: Iterable[str], config: Config, registry: Registry
) -> dict[str, str | OcbuildError | None]:
    """Each base's digest, or the error; None for what cannot move."""

    def one(text: str) -> str | OcbuildError | None:
        redirect = config.contexts.get(text, IMAGE_SCHEME)
        if not redirect.startswith(IMAGE_SCHEME):
            return None  # a folder or an address: the key sees the one, nobody sees the other
        reference = Reference.parse(wanted_reference(text, config))
        if reference.digest:
            return None
        try:
            found = registry.head(reference)
        except OcbuildError as error:
            return error
        return OcbuildError(f"{reference} is not there") if found is None else found.digest

    wanted = sorted(texts)
    return dict(zip(wanted, in_threads(one, wanted, at_once=ASKED_AT_ONCE), strict=True))


def _is_made_here(text: str, config: Config) -> bool:
    settings = config.base(Reference.parse(text))
    return settings is not None and settings.bootstrap is not None


def _wanted(facts: Iterable[Facts]) -> set[tuple[PackageSource, str]]:
    return {
        (source, architecture)
        for one in facts
        if one.inventory is not None
        for source in one.inventory.sources
        for architecture in one.inventory.architectures
    }
