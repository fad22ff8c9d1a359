"""Which images of a release went stale, and what has to be made anew for it: a pure decision.

An image is stale by what its *own* layers hold: an outdated package that they brought, or an
external base that they stand on and that has moved. What it has from another image of the tree
makes that one stale, and this one is made anew because it is built on it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from msgspec import Struct, field

from builder.core.packages.inventory import ALL, Inventory, Offers, Package, PackageSource


class Facts(Struct, frozen=True, kw_only=True):
    """What is known of one published image.

    ``base`` is the image of the tree that it starts from, "" for none; ``bases`` are its external
    bases, as written, to the digests that it was built on. ``inventory`` is None where none was
    recorded. ``held`` maps the ids of packages to the candidates that a refresh tried in vain:
    there is no use in trying again before there is a newer one.
    """

    base: str = ""
    parents: tuple[str, ...] = ()
    bases: Mapping[str, str] = field(default_factory=dict)
    inventory: Inventory | None = None
    held: Mapping[str, str] = field(default_factory=dict)


class Moved(Struct, frozen=True, kw_only=True):
    """An external base that is another one now."""

    name: str
    built_on: str
    now: str


class Outdated(Struct, frozen=True, kw_only=True):
    """A package of an image for which there is a newer version."""

    package: Package
    candidate: str


class Staleness(Struct, frozen=True, kw_only=True):
    """What is stale in the own layers of one image; ``held`` alone is no reason to make it anew."""

    outdated: tuple[Outdated, ...] = ()
    moved: tuple[Moved, ...] = ()
    held: tuple[Outdated, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.outdated or self.moved)


class StaleImages(Struct, frozen=True, kw_only=True):
    """What a check found, and what follows from it.

    ``stale`` are the images whose own layers are stale. ``above`` are those that are built on them,
    each with the images that it is made anew for. ``held`` are the packages that stayed old when a
    refresh made their image anew. The others are images of which less is known: they have no Debian
    packages, nothing was recorded of them, or their apt has preferences of its own.
    """

    stale: Mapping[str, Staleness]
    above: Mapping[str, tuple[str, ...]]
    held: Mapping[str, tuple[Outdated, ...]] = field(default_factory=dict)
    without_packages: tuple[str, ...] = ()
    without_inventory: tuple[str, ...] = ()
    pinned: tuple[str, ...] = ()

    @property
    def images(self) -> frozenset[str]:
        """All that has to be made anew."""
        return frozenset((*self.stale, *self.above))


Candidates = Callable[[tuple[PackageSource, ...], str], Offers]
"""What sources offer for an architecture."""


def judge(
    images: Mapping[str, Facts],
    *,
    now: Mapping[str, str],
    offers: Candidates,
    among: frozenset[str] | None = None,
) -> StaleImages:
    """Decide for all images; ``now`` are the digests of those external bases that could be asked.

    A base or a source that could not be asked makes nothing stale. Only the images of ``among`` are
    looked at, but whatever is built on a stale one is made anew with it.
    """
    asked = sorted(images if among is None else among & images.keys())
    found = {name: _staleness(name, images, now, offers) for name in asked}
    stale = {name: one for name, one in found.items() if one}
    return StaleImages(
        stale=stale,
        above=_above(images, frozenset(stale)),
        held={name: one.held for name, one in found.items() if one.held},
        without_packages=_those(images, asked, _empty),
        without_inventory=_those(images, asked, _unknown),
        pinned=_those(images, asked, _pinned),
    )


def remaining(
    inventory: Inventory, parent: Inventory | None, offers: Candidates
) -> dict[str, Outdated]:
    """The own packages that are older than what is on offer, by their ids."""
    native = inventory.architecture
    found = {}
    for package in inventory.own(parent):
        architecture = native if package.architecture == ALL else package.architecture
        candidate = offers(inventory.sources, architecture).candidate(package.name, package.version)
        if candidate != package.version:
            found[package.id] = Outdated(package=package, candidate=candidate)
    return found


def _staleness(
    name: str, images: Mapping[str, Facts], now: Mapping[str, str], offers: Candidates
) -> Staleness:
    facts = images[name]
    moved = tuple(
        Moved(name=text, built_on=digest, now=now[text])
        for text, digest in facts.bases.items()
        if now.get(text, digest) != digest
    )
    parent = images[facts.base].inventory if facts.base in images else None
    if facts.inventory is None or (facts.base and parent is None):
        # Without the parent's record nobody can say which packages are whose.
        return Staleness(moved=moved)
    outdated = remaining(facts.inventory, parent, offers)
    return Staleness(
        moved=moved,
        outdated=tuple(
            one for id_, one in outdated.items() if facts.held.get(id_) != one.candidate
        ),
        held=tuple(one for id_, one in outdated.items() if facts.held.get(id_) == one.candidate),
    )


def _above(images: Mapping[str, Facts], stale: frozenset[str]) -> dict[str, tuple[str, ...]]:
    """The images that are built on stale ones, by whatever way, and are not stale themselves."""
    causes: dict[str, frozenset[str]] = {}

    def of(name: str) -> frozenset[str]:
        if name not in causes:
            parents = [parent for parent in images[name].parents if parent in images]
            causes[name] = frozenset().union(
                *(of(parent) for parent in parents), (p for p in parents if p in stale)
            )
        return causes[name]

    return {
        name: tuple(sorted(of(name))) for name in sorted(images) if of(name) and name not in stale
    }


def _those(
    images: Mapping[str, Facts], names: Iterable[str], condition: Callable[[Facts], bool]
) -> tuple[str, ...]:
    return tuple(name for name in names if condition(images[name]))


def _unknown(facts: Facts) -> bool:
    return facts.inventory is None


def _empty(facts: Facts) -> bool:
    return facts.inventory is not None and not facts.inventory.dpkg


def _pinned(facts: Facts) -> bool:
    return facts.inventory is not None and facts.inventory.pinned
