"""What a refresh asks of a run follows from what the check found."""

from __future__ import annotations

import pytest

from builder.core.new_release import next_suffix, renewal
from builder.core.packages.inventory import Package
from builder.core.stale import Moved, Outdated, StaleImages, Staleness
from tests.unit.core.test_packages import package


def outdated(name: str, candidate: str = "2") -> Outdated:
    return Outdated(package=package(name), candidate=candidate)


VERDICT = StaleImages(
    stale={
        "nova": Staleness(outdated=tuple(outdated(name) for name in "abcde")),
        "base": Staleness(moved=(Moved(name="debian", built_on="sha256:1", now="sha256:2"),)),
    },
    above={"api": ("base", "nova"), "redis": ("base",)},
    held={"nova": (outdated("held", "9"),), "other": (outdated("x"),)},
)
RENEWAL = renewal(
    VERDICT,
    now={"debian": "sha256:2"},
    generations={"nova": 3, "base": 0, "api": 1},
    suffix="20250131",
)


def test_only_what_is_stale_itself_gets_a_new_generation() -> None:
    assert RENEWAL.generations == {"nova": 4, "base": 1, "api": 1}
    assert RENEWAL.images == {"nova", "base", "api", "redis"}


def test_every_image_has_a_reason_that_a_person_understands() -> None:
    assert RENEWAL.reasons("base") == ("base debian moved from sha256:1 to sha256:2",)
    assert RENEWAL.reasons("nova") == ("a 1 -> 2, b 1 -> 2, c 1 -> 2, and 2 more",)
    assert RENEWAL.reasons("api") == ("base, nova are made anew",)
    assert RENEWAL.reasons("redis") == ("base is made anew",)


def test_what_was_held_is_hoped_for_again_once_its_image_is_made_anew() -> None:
    assert RENEWAL.hoped_for["nova"]["held:amd64"] == "9"
    assert RENEWAL.hoped_for["nova"]["a:amd64"] == "2"
    assert set(RENEWAL.hoped_for) == {"nova", "base"}


@pytest.mark.parametrize(
    ("taken", "suffix"),
    [
        ((), "20250131"),
        (("20250130", "20250130.2", ""), "20250131"),
        (("20250131",), "20250131.2"),
        (("20250131", "20250131.2", "20250131.4"), "20250131.3"),
    ],
)
def test_each_refresh_of_a_day_has_a_name_of_its_own(taken: tuple[str, ...], suffix: str) -> None:
    assert next_suffix("20250131", taken) == suffix
    assert RENEWAL.tag("1.0-abcdef0") == "1.0-abcdef0.20250131"


def test_a_package_is_known_by_name_and_architecture() -> None:
    foreign = Package(name="a", version="1", architecture="i386", source="a", source_version="1")
    assert foreign.id != package("a").id
