"""The order of releases: by time, and within a second by what goes on from what."""

from __future__ import annotations

from builder.core.release import Release
from builder.core.retention import Shelved
from builder.publish.home import newest_first


def shelved(tag: str, second: int, previous: str = "") -> Shelved:
    release = Release(
        tag=tag,
        project="acme",
        namespace="acme",
        commit=tag,
        created=f"2026-01-01T00:00:{second:02}+00:00",
        previous=previous,
    )
    return Shelved(release=release, digest=f"sha256:{tag}", tags=(tag,))


def order(*shelf: Shelved) -> list[str]:
    return [one.release.tag for one in newest_first(shelf)]


def test_the_younger_release_comes_first_whatever_it_goes_on_from() -> None:
    assert order(shelved("b", 1), shelved("a", 2), shelved("c", 0, "a")) == ["a", "b", "c"]


def test_of_the_same_second_the_one_that_goes_on_from_the_other_comes_first() -> None:
    chain = (shelved("z", 5), shelved("a", 5, "z"), shelved("m", 5, "a"))
    assert order(*chain) == ["m", "a", "z"]


def test_releases_that_go_on_from_each_other_have_an_order_all_the_same() -> None:
    assert order(shelved("a", 5, "b"), shelved("b", 5, "a")) == ["b", "a"]
