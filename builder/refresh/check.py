"""Compares a release with what bases and archives are now: no engine, and no image is pulled."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from builder.bases import IMAGE_SCHEME, wanted_reference
from builder.config import Config
from builder.errors import OcbuildError
from builder.packages.inventory import Source
from builder.reference import Reference
from builder.refresh.archives import Archives, Market
from builder.refresh.inventories import Inventories
from builder.registry.client import Registry
from builder.release import Release, ReleasedImage
from builder.stale import Facts, Verdict, judge

ASKED_AT_ONCE = 8
NOTHING = Market(indexes={}, faults={})


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """What a check found; ``now`` are the digests of the bases that could be asked.

    ``unchecked`` has a line for each base and source that could not be asked, ``made_here`` the
    bases that no registry has: their packages are compared like all others.
    """

    release: Release
    verdict: Verdict
    market: Market
    now: Mapping[str, str] = field(default_factory=dict)
    unchecked: tuple[str, ...] = ()
    made_here: tuple[str, ...] = ()


def check(
    release: Release,
    config: Config,
    registry: Registry,
    archives: Archives,
    *,
    host: str,
    among: frozenset[str],
) -> Check:
    """Look for what is stale in the images of ``among``; ``host`` is the release's registry.

    Raises:
        RegistryError: the registry of the release cannot be asked.

    """
    facts = _facts(release, Inventories(registry), host)
    now: dict[str, str] = {}
    unchecked: list[str] = []
    made_here: list[str] = []
    if config.refresh.bases:
        used = {text for name in among & facts.keys() for text in facts[name].bases}
        for text, found in _ask_bases(used, config, registry).items():
            if isinstance(found, str):
                now[text] = found
            elif _is_made_here(text, config):
                made_here.append(text)
            elif found is not None:
                unchecked.append(f"base {text}: {found.message}")
    market = NOTHING
    if config.refresh.packages:
        market = archives.read(_wanted(facts[name] for name in among & facts.keys()))
        unchecked += [f"packages of {source}: {text}" for source, text in market.faults.items()]
    verdict = judge(facts, now=now, offers=market.offers, among=among)
    return Check(
        release=release,
        verdict=verdict,
        market=market,
        now=now,
        unchecked=tuple(unchecked),
        made_here=tuple(made_here),
    )


def _facts(release: Release, inventories: Inventories, host: str) -> dict[str, Facts]:
    def one(image: ReleasedImage) -> Facts:
        record = None
        if image.inventory:
            record = inventories.read(image.reference(host).at(image.inventory))
        return Facts(
            base=record.base if record else "",
            parents=image.inputs.parents,
            bases=image.inputs.bases,
            inventory=record.inventory if record else None,
            held=record.held if record else {},
        )

    images = list(release.images.values())
    with ThreadPoolExecutor(max_workers=ASKED_AT_ONCE) as pool:
        return dict(zip((image.name for image in images), pool.map(one, images), strict=True))


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
    with ThreadPoolExecutor(max_workers=ASKED_AT_ONCE) as pool:
        return dict(zip(wanted, pool.map(one, wanted), strict=True))


def _is_made_here(text: str, config: Config) -> bool:
    settings = config.base(Reference.parse(text))
    return settings is not None and settings.bootstrap is not None


def _wanted(facts: Iterable[Facts]) -> set[tuple[Source, str]]:
    return {
        (source, architecture)
        for one in facts
        if one.inventory is not None
        for source in one.inventory.sources
        for architecture in one.inventory.architectures
    }
