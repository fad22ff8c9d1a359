"""What is stale, what is made anew for it, and what is left alone."""

from __future__ import annotations

from builder.core.packages.inventory import Inventory, Offers, Package, PackageSource
from builder.core.stale import Facts, StaleImages, judge
from tests.unit.core.test_packages import package

SOURCE = PackageSource(uri="http://mirror", suite="s", component="main")


def has(*packages: Package) -> Inventory:
    return Inventory(dpkg=True, packages=packages, sources=(SOURCE,))


LIBC, REDIS, NOVA = package("libc6"), package("redis"), package("nova")
IMAGES = {
    "base": Facts(bases={"debian": "sha256:1"}, inventory=has(LIBC)),
    "redis": Facts(base="base", parents=("base",), inventory=has(LIBC, REDIS)),
    "nova": Facts(base="base", parents=("base",), inventory=has(LIBC, NOVA)),
    "nova-api": Facts(base="nova", parents=("nova",), inventory=has(LIBC, NOVA)),
    "copies": Facts(parents=("redis",), inventory=Inventory(dpkg=False)),
}


def verdict(
    offered: dict[str, str] | None = None,
    *,
    images: dict[str, Facts] = IMAGES,
    now: dict[str, str] | None = None,
    among: frozenset[str] | None = None,
) -> StaleImages:
    found = {name: (version,) for name, version in (offered or {}).items()}

    def offers(sources: tuple[PackageSource, ...], architecture: str) -> Offers:
        return Offers(indexes=((500, found),) if sources == (SOURCE,) else ())

    return judge(images, now=now or {}, offers=offers, among=among)


def test_nothing_is_stale_where_nothing_newer_is_offered() -> None:
    for offered in ({}, {"libc6": "1", "nova": "0.9", "unknown": "7"}):
        found = verdict(offered)
        assert not found.stale
        assert found.images == frozenset()


def test_an_outdated_package_makes_its_owner_stale_and_all_above_be_made_anew() -> None:
    found = verdict({"nova": "2"})
    assert list(found.stale) == ["nova"]
    assert [one.candidate for one in found.stale["nova"].outdated] == ["2"]
    assert found.above == {"nova-api": ("nova",)}


def test_what_is_inherited_makes_only_the_parent_stale() -> None:
    found = verdict({"libc6": "2"})
    assert list(found.stale) == ["base"]
    assert sorted(found.above) == ["copies", "nova", "nova-api", "redis"]
    assert found.above["copies"] == ("base",)


def test_a_moved_base_makes_those_stale_that_name_it() -> None:
    found = verdict(now={"debian": "sha256:2", "unknown": "sha256:3"})
    assert list(found.stale) == ["base"]
    (moved,) = found.stale["base"].moved
    assert (moved.built_on, moved.now) == ("sha256:1", "sha256:2")
    assert not verdict(now={"debian": "sha256:1"}).stale


def test_what_copies_from_a_stale_image_is_made_anew_too() -> None:
    found = verdict({"redis": "2"})
    assert list(found.stale) == ["redis"]
    assert found.above == {"copies": ("redis",)}


def test_a_package_upgraded_by_a_child_is_the_childs_own() -> None:
    upgraded = Facts(base="base", parents=("base",), inventory=has(package("libc6", "1.5"), REDIS))
    found = verdict({"libc6": "2"}, images={**IMAGES, "redis": upgraded})
    assert list(found.stale) == ["base", "redis"]
    assert "redis" not in found.above


def test_what_a_refresh_could_not_renew_is_not_tried_for_the_same_candidate_again() -> None:
    held = Facts(
        base="base", parents=("base",), inventory=has(LIBC, REDIS), held={"redis:amd64": "2"}
    )
    images = {**IMAGES, "redis": held}
    found = verdict({"redis": "2"}, images=images)
    assert not found.stale
    assert [one.package.name for one in found.held["redis"]] == ["redis"]
    assert list(verdict({"redis": "3"}, images=images).stale) == ["redis"]


def test_without_the_record_of_an_image_or_its_parent_no_package_makes_it_stale() -> None:
    unknown = Facts(bases={"debian": "sha256:1"})
    found = verdict({"libc6": "2", "redis": "2"}, images={**IMAGES, "base": unknown})
    assert not found.stale
    assert found.without_inventory == ("base",)
    moved = verdict(images={**IMAGES, "base": unknown}, now={"debian": "sha256:2"})
    assert list(moved.stale) == ["base"]


def test_only_the_images_that_were_asked_for_are_looked_at() -> None:
    found = verdict({"nova": "2", "redis": "2"}, among=frozenset({"nova", "no-such"}))
    assert list(found.stale) == ["nova"]
    assert found.above == {"nova-api": ("nova",)}


def test_a_stale_image_on_a_stale_image_is_stale_by_itself() -> None:
    found = verdict({"libc6": "2", "nova": "2"})
    assert list(found.stale) == ["base", "nova"]
    assert found.above["nova-api"] == ("base", "nova")


def test_images_without_packages_are_named() -> None:
    assert verdict().without_packages == ("copies",)


def test_a_package_for_all_architectures_is_looked_for_in_the_index_of_the_image() -> None:
    asked = []

    def offers(_sources: tuple[PackageSource, ...], architecture: str) -> Offers:
        asked.append(architecture)
        return Offers()

    images = {"a": Facts(inventory=has(package("data", architecture="all"), LIBC))}
    judge(images, now={}, offers=offers)
    assert asked == ["amd64", "amd64"]
