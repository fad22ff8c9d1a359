"""Every reason that a plan gives, as a person reads it."""

from __future__ import annotations

import pytest

from builder.core import reasons
from builder.core.release import Inputs, Release, ReleasedImage
from builder.core.stale import Moved, Outdated, Staleness
from tests.unit.core.test_packages import package

INPUTS = Inputs(recipe="r", files={"run.sh": "1"})


def last(generation: int = 0) -> Release:
    image = ReleasedImage(
        name="app",
        path="acme/app",
        tag="1.0-old",
        digest="sha256:a",
        key="k",
        group="images",
        inputs=INPUTS,
        generation=generation,
    )
    return Release(
        tag="old", project="acme", namespace="acme", commit="", created="", images={"app": image}
    )


@pytest.mark.parametrize(
    ("place", "key", "no_reuse", "expected"),
    [
        ("the engine", "k", False, "the engine has its key"),
        ("the engine", "k", True, "--no-reuse makes it anew"),
        ("", "k", False, "neither the engine nor the registry has its key"),
        ("", "", False, "its base has still to be fetched, so its key is not known"),
    ],
)
def test_an_ancestor_says_who_needs_it_and_who_has_it(
    place: str, key: str, *, no_reuse: bool, expected: str
) -> None:
    found = reasons.needed(["app", "web"], place=place, key=key, no_reuse=no_reuse)
    assert found == ("needed by app, web", expected)


@pytest.mark.parametrize(
    ("of", "tagged", "expected"),
    [
        ("", False, "the registry has its key"),
        ("old", False, "the registry has its key, of old"),
        ("old", True, "published already, with this content and this tag"),
        ("", True, "published already, with this content and this tag"),
    ],
)
def test_what_is_published_says_where(of: str, *, tagged: bool, expected: str) -> None:
    assert reasons.published(of, tagged=tagged) == (expected,)


@pytest.mark.parametrize(
    ("name", "release", "inputs", "generation", "expected"),
    [
        ("app", None, INPUTS, 0, ("nothing is published yet",)),
        ("web", last(), INPUTS, 0, ("not in the last release, old",)),
        ("app", last(), INPUTS, 0, ("parent base is rebuilt",)),
        ("app", last(), None, 0, ("parent base is rebuilt",)),
        ("app", last(1), INPUTS, 2, ("a refresh makes it anew", "parent base is rebuilt")),
        (
            "app",
            last(),
            Inputs(recipe="r", files={"run.sh": "2"}),
            1,
            (
                "file run.sh changed since 1.0-old",
                "a refresh makes it anew",
                "parent base is rebuilt",
            ),
        ),
    ],
)
def test_what_is_not_published_says_what_has_changed(
    name: str,
    release: Release | None,
    inputs: Inputs | None,
    generation: int,
    expected: tuple[str, ...],
) -> None:
    found = reasons.not_published(
        name,
        release,
        inputs,
        generation=generation,
        parents=("base", "tools"),
        published={"tools"},
    )
    assert found == expected


def test_where_nothing_has_changed_the_registry_has_lost_it() -> None:
    found = reasons.not_published("app", last(), INPUTS, generation=0, parents=(), published=())
    assert found == ("not in the registry",)


def test_each_target_that_selected_an_image_is_named() -> None:
    assert reasons.selected(["all", "app+"]) == ('selected by "all"', 'selected by "app+"')


def test_an_engine_is_needed_for_a_reason() -> None:
    assert reasons.needs_engine("line 2 is a RUN") == "needs an engine: line 2 is a RUN"
    assert reasons.stands_on_build("base") == "an engine builds base in this run"
    assert reasons.stands_on_build("base", "web") == (
        "an engine builds base in this run, and web on this image"
    )


def outdated(*names: str) -> tuple[Outdated, ...]:
    return tuple(Outdated(package=package(name), candidate="2") for name in names)


@pytest.mark.parametrize(
    ("staleness", "expected"),
    [
        (Staleness(outdated=outdated(*"abc")), ("a 1 -> 2, b 1 -> 2, c 1 -> 2",)),
        (Staleness(outdated=outdated(*"abcd")), ("a 1 -> 2, b 1 -> 2, c 1 -> 2, and 1 more",)),
        (
            Staleness(outdated=outdated("a"), moved=(Moved(name="debian", built_on="1", now="2"),)),
            ("base debian moved from 1 to 2", "a 1 -> 2"),
        ),
        (Staleness(held=outdated("a")), ()),
    ],
)
def test_what_is_stale_says_what_moved(staleness: Staleness, expected: tuple[str, ...]) -> None:
    assert reasons.stale(staleness) == expected


def test_what_stands_on_stale_images_names_them() -> None:
    assert reasons.stands_on_stale(["base"]) == ("base is made anew",)
    assert reasons.stands_on_stale(["base", "web"]) == ("base, web are made anew",)
