"""Releases and prunes in words: the lines for people and the values for scripts."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from msgspec.structs import replace

from builder.core.keys import KEY as KEY_LABEL
from builder.core.release import Inputs, Release, ReleasedImage, difference, short
from builder.core.release_text import (
    difference_json,
    difference_lines,
    listing_json,
    listing_lines,
    prune_json,
    prune_lines,
    release_json,
    release_lines,
)
from builder.core.retention import (
    EngineSweep,
    JudgedRelease,
    KeptImage,
    Policy,
    Shelved,
    StoredManifest,
    Sweep,
    sweep_engine,
)

NOW = datetime(2025, 6, 1, tzinfo=timezone.utc)
DIGEST = "sha256:" + "a" * 64
KEY = "0" * 64


def image_of(name: str, key: str = KEY) -> ReleasedImage:
    return ReleasedImage(
        name=name,
        path=f"acme/{name}",
        group="api",
        tag="1.0-abc",
        key=key,
        digest=DIGEST,
        size=1200,
        inputs=Inputs(recipe="r", bases={"debian:13": "sha256:b"}),
    )


def release(tag: str = "abc", *images: ReleasedImage, **more: Any) -> Release:
    made = Release(
        project="acme",
        namespace="acme",
        tag=tag,
        commit="abcdef0123",
        branch="main",
        created="2025-05-01T10:20:30Z",
        images={one.name: one for one in images or (image_of("nova"),)},
    )
    return replace(made, **more)


def shelved(*tags: str, **more: Any) -> Shelved:
    return Shelved(release=release(tags[0], **more), digest=DIGEST, tags=tags)


def test_a_listing_has_a_row_for_each_release_with_all_that_names_it() -> None:
    shelf = [shelved("abc", "latest"), shelved("old", missing={"x": "it failed"})]
    assert listing_lines(shelf) == [
        "RELEASE  COMMIT   CREATED           IMAGES  MISSING  ALSO",
        "abc      abcdef0  2025-05-01 10:20       1        -  latest",
        "old      abcdef0  2025-05-01 10:20       1        1",
    ]
    first, second = listing_json(shelf)
    assert (first["tag"], first["latest"], first["nightly"]) == ("abc", True, False)
    assert second["missing"] == ["x"]


def test_a_release_is_shown_with_its_images_what_is_missing_and_its_bases() -> None:
    shown = release(missing={"x": "it\x1b[31m failed"}, dirty=True)
    lines = release_lines(shown, "reg/acme")
    assert lines[0] == "release  abc, in reg/acme"
    assert "created  2025-05-01T10:20:30Z, of a tree with edits" in lines
    row = ["nova", "api", "1.0-abc", "1.2", "kB", short(DIGEST), "000000000000"]
    assert row in [line.split() for line in lines]
    assert lines[-5:] == [
        "missing, each of them optional:",
        "  x  it failed",
        "",
        "built on:",
        "  debian:13 sha256:b",
    ]
    assert release_json(shown)["bases"] == {"debian:13": ["sha256:b"]}


def test_a_difference_counts_what_changed_and_says_why() -> None:
    old = release("old", image_of("nova"), image_of("gone"))
    new = release(
        "new", replace(image_of("nova", key="1" * 64), digest="sha256:c"), image_of("more")
    )
    lines = difference_lines(difference(old, new))
    assert lines[-1] == "old → new: 1 added, 1 removed, 1 changed, 0 unchanged"
    assert [line.split()[:2] for line in lines[:-1]] == [
        ["added", "more"],
        ["removed", "gone"],
        ["changed", "nova"],
    ]
    document = difference_json(difference(old, new))
    assert list(document["added"]) == ["more"]  # type: ignore[call-overload]


SWEEP = Sweep(
    releases=(
        JudgedRelease(shelved=shelved("abc", "latest"), why="latest"),
        JudgedRelease(shelved=Shelved(release=release("old"), digest="sha256:o", tags=("old",))),
    ),
    delete=(
        StoredManifest(path="acme/release", digest="sha256:o", size=1),
        StoredManifest(path="acme/nova", digest="sha256:n", size=2, tags=("1.0-abc",)),
    ),
    kept=3,
    freed=4_500,
    unexplained=(StoredManifest(path="acme/x", digest="sha256:x", size=1, tags=("key-1", "mine")),),
)


@pytest.mark.parametrize(("deleted", "verb"), [(False, "would be deleted"), (True, "deleted")])
def test_a_prune_says_what_goes_and_why_the_rest_stays(deleted: bool, verb: str) -> None:  # noqa: FBT001
    freed = "4.5 kB of blobs that nothing here needs any more"
    assert prune_lines("reg/acme", SWEEP, EngineSweep(kept=2), deleted=deleted) == [
        "keep    abc  2025-05-01  latest",
        "delete  old  2025-05-01",
        "",
        f"registry reg/acme: 1 release and 1 image {verb}, 3 manifests kept; {freed}",
        "note: 1 image stay because of a tag that no release explains, such as acme/x:mine",
        f"engine: 0 images {verb}, 2 kept; at least 0 B",
    ]


def test_an_engine_that_does_not_answer_is_said_to_be_left_out() -> None:
    none = Sweep(releases=(), delete=(), kept=0, freed=0)
    lines = prune_lines("reg/acme", none, EngineSweep(note="no engine"), deleted=False)
    assert lines[0] == "there is no release in reg/acme"
    assert lines[-1] == "engine: not looked at: no engine"


def test_a_prune_for_scripts_names_every_manifest() -> None:
    document = prune_json(SWEEP, EngineSweep(delete=(stored("a"),)), 7, deleted=True)
    assert [one["keep"] for one in document["releases"]] == [True, False]  # type: ignore[attr-defined]
    assert document["collected_bytes"] == 7
    assert document["engine"] == {
        "note": "",
        "images": [{"id": "sha256:a", "tags": ["acme/a:1"]}],
        "kept": 0,
        "freed_bytes": 10,
    }


def stored(name: str, key: str = "f" * 64, *, ago: int = 100, in_use: bool = False) -> KeptImage:
    return KeptImage(
        id=f"sha256:{name}",
        tags=(f"acme/{name}:1",),
        labels={KEY_LABEL: key} if key else {},
        made=NOW - timedelta(days=ago),
        own=10,
        in_use=in_use,
    )


@pytest.mark.parametrize(
    ("image", "goes"),
    [
        (stored("old"), True),
        (stored("young", ago=3), False),
        (stored("used", in_use=True), False),
        (stored("named", key=KEY), False),
        (stored("going", key="2" * 64), True),
        (stored("keyless", key=""), True),
    ],
)
def test_the_engine_loses_what_no_release_that_stays_names(image: KeptImage, goes: bool) -> None:  # noqa: FBT001
    old = release("old", image_of("nova", "2" * 64))
    verdicts = [
        JudgedRelease(shelved=shelved("abc"), why="latest"),
        JudgedRelease(shelved=Shelved(release=old, digest="sha256:o", tags=("old",))),
    ]
    policy = Policy(now=NOW, keep_commits=1, keep_days=14)
    swept = sweep_engine(verdicts, [image], policy)
    assert swept == EngineSweep(delete=(image,) if goes else (), kept=0 if goes else 1)
