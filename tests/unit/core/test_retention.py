"""What may go from a registry, and above all what may not."""

from __future__ import annotations

import random
from datetime import datetime, timedelta, timezone

import pytest
from msgspec.structs import replace

from builder.core.release import Inputs, Release, ReleasedImage
from builder.core.retention import (
    JudgedRelease,
    Policy,
    Shelved,
    StoredManifest,
    Sweep,
    judge,
    sweep,
)
from builder.core.text import moment

NOW = datetime(2025, 6, 1, tzinfo=timezone.utc)
SHELF = "acme/release"
KEY = "key-" + "0" * 40


def days(ago: float) -> datetime:
    return NOW - timedelta(days=ago)


def policy(commits: int = 0, keep_days: int = 14, branch: str = "", *known: str) -> Policy:
    return Policy(
        now=NOW,
        keep_commits=commits,
        keep_days=keep_days,
        branch=branch,
        commits=frozenset(known),
    )


def image(name: str, digest: str, tag: str = "1.0-a", inventory: str = "") -> ReleasedImage:
    return ReleasedImage(
        name=name,
        path=f"acme/{name}",
        tag=tag,
        digest=digest,
        key="k",
        group="g",
        inventory=inventory,
        inputs=Inputs(recipe="r"),
    )


def shelved(
    tag: str, ago: float, *images: ReleasedImage, also: tuple[str, ...] = (), branch: str = "main"
) -> Shelved:
    release = Release(
        tag=tag,
        project="acme",
        namespace="acme",
        commit=tag[:7],
        created=days(ago).isoformat(),
        branch=branch,
        images={one.name: one for one in images},
    )
    return Shelved(release=release, digest=f"sha256:{tag}", tags=(tag, *also))


def found(
    path: str, digest: str, *tags: str, ago: float | None = 100, **blobs: int
) -> StoredManifest:
    return StoredManifest(
        path=path,
        digest=digest,
        size=10,
        tags=tags,
        blobs=blobs,
        made=None if ago is None else days(ago),
    )


def kept(verdicts: tuple[JudgedRelease, ...]) -> dict[str, str]:
    return {one.shelved.release.tag: one.why for one in verdicts if one.why}


def swept(
    shelf: list[Shelved], manifests: list[StoredManifest], rule: Policy | None = None
) -> Sweep:
    rule = rule or policy()
    made = {one.place: one.made for one in manifests if one.made is not None}
    return sweep(judge(shelf, made, rule), manifests, rule, shelf=SHELF)


def deleted(result: Sweep) -> list[tuple[str, str]]:
    return [one.place for one in result.delete]


# --- releases -------------------------------------------------------------------------------------


def test_the_newest_commits_stay() -> None:
    shelf = [shelved(f"commit{n}", 100 + n) for n in range(5)]
    found = kept(judge(shelf, {}, policy(2)))
    assert found == dict.fromkeys(["commit0", "commit1"], "one of the newest 2 commits")


def test_only_commits_of_the_branch_count() -> None:
    shelf = [
        shelved("commit1", 101, branch="topic"),
        shelved("commit2", 102, branch="main"),
        shelved("commit3", 103, branch="topic"),
        # Built where no branch was checked out; git knows better.
        shelved("commit4", 104, branch=""),
    ]
    found = kept(judge(shelf, {}, policy(5, 14, "main", "commit4" + "0" * 33)))
    assert set(found) == {"commit2", "commit4"}
    assert found["commit2"] == "one of the newest 5 commits of main"


def test_of_one_commit_the_first_release_and_the_newest_refresh_stay() -> None:
    shelf = [shelved(f"commit1.{n}", 200 - n) for n in range(9)]
    assert set(kept(judge(shelf, {}, policy(1)))) == {"commit1.0", "commit1.8"}


def test_a_refresh_makes_an_old_commit_no_newer() -> None:
    shelf = [
        shelved("commit1", 300),
        shelved("commit1.20250501", 31),
        shelved("commit2", 200),
        shelved("commit3", 100),
    ]
    assert set(kept(judge(shelf, {}, policy(2)))) == {"commit2", "commit3"}


def test_a_release_that_runs_somewhere_stays_and_the_place_is_named() -> None:
    old, older = shelved("1.0-aaa", 90), shelved("1.0-bbb", 91, also=("by-hand",))
    places = {"1.0-aaa": ["local.api", "desk.api", "local.api"], "1.0-bbb": ["local.db"]}
    verdicts = judge([old, older], {}, policy(), places)
    assert [one.why for one in verdicts] == [
        "deployed: desk.api, local.api",
        "by-hand, deployed: local.db",
    ]
    assert [one.why for one in judge([old], {}, policy(), {})] == [""]


@pytest.mark.parametrize("tag", ["latest", "nightly", "by-hand"])
def test_a_release_with_another_tag_stays(tag: str) -> None:
    shelf = [shelved("commit1", 1000, also=(tag,))]
    assert kept(judge(shelf, {}, policy())) == {"commit1": tag}


def test_what_is_young_stays_and_what_has_no_date_as_well() -> None:
    undated = shelved("commit3", 0)
    undated = replace(undated, release=replace(undated.release, created="some day"))
    shelf = [shelved("commit1", 13.9), shelved("commit2", 14.1), undated]
    assert kept(judge(shelf, {}, policy())) == {
        "commit1": "younger than 14 days",
        "commit3": "nobody knows how old it is",
    }


def test_an_old_commit_that_was_built_today_is_young() -> None:
    shelf = [shelved("commit1", 1000, image("nova", "sha256:1"))]
    assert kept(judge(shelf, {("acme/nova", "sha256:1"): days(1)}, policy()))


def test_a_release_of_a_dirty_tree_stays_only_while_it_is_young() -> None:
    old = shelved("commit1-dirty", 100)
    old = replace(old, release=replace(old.release, dirty=True))
    assert kept(judge([old], {}, policy(5))) == {}


# --- manifests ------------------------------------------------------------------------------------


def test_a_release_goes_with_its_images_and_its_artifact() -> None:
    shelf = [shelved("old", 100, image("nova", "sha256:1"))]
    manifests = [
        found("acme/nova", "sha256:1", "1.0-a", KEY, a=100, b=7),
        found(SHELF, "sha256:old", "old", ago=None, c=3),
    ]
    result = swept(shelf, manifests)
    assert deleted(result) == [("acme/nova", "sha256:1"), (SHELF, "sha256:old")]
    assert [one.release.tag for one in result.gone] == ["old"]
    # Two manifests of ten bytes, and their blobs.
    assert result.freed == 20 + 110


def test_a_manifest_that_a_kept_release_shares_stays() -> None:
    shelf = [
        shelved("new", 1, image("nova", "sha256:1", "1.0-b"), also=("latest",)),
        shelved("old", 100, image("nova", "sha256:1"), image("glance", "sha256:2")),
    ]
    manifests = [
        found("acme/nova", "sha256:1", "1.0-a", "1.0-b", KEY, shared=100),
        found("acme/glance", "sha256:2", "1.0-a", KEY, shared=100, own=5),
        found(SHELF, "sha256:old", "old", ago=None),
        found(SHELF, "sha256:new", "new", "latest", ago=None),
    ]
    result = swept(shelf, manifests)
    assert deleted(result) == [("acme/glance", "sha256:2"), (SHELF, "sha256:old")]
    assert result.freed == 20 + 5
    assert result.kept == 2


def test_a_blob_that_goes_from_two_repositories_is_counted_once() -> None:
    manifests = [
        found("acme/a", "sha256:1", KEY, shared=100),
        found("acme/b", "sha256:2", KEY, shared=100),
    ]
    assert swept([], manifests).freed == 20 + 100


def test_what_a_run_under_way_has_staged_stays() -> None:
    manifests = [
        found("acme/a", "sha256:1", KEY, ago=1),
        found("acme/b", "sha256:2", KEY, ago=None),
        found("acme/c", "sha256:3", KEY, ago=15),
    ]
    assert deleted(swept([], manifests)) == [("acme/c", "sha256:3")]


def test_a_tag_that_no_release_explains_protects_its_manifest() -> None:
    shelf = [shelved("old", 100, image("nova", "sha256:1"), image("glance", "sha256:2"))]
    manifests = [
        found("acme/nova", "sha256:1", "1.0-a", "mine", KEY),
        found("acme/glance", "sha256:2", "1.0-a", KEY),
        found("acme/foreign", "sha256:3", "v1"),
    ]
    result = swept(shelf, manifests)
    assert deleted(result) == [("acme/glance", "sha256:2")]
    assert [one.path for one in result.unexplained] == ["acme/nova", "acme/foreign"]


@pytest.mark.parametrize(
    ("tag", "goes"),
    [
        ("1.0-abcdef0", True),
        ("abcdef0", True),
        ("1.0-abcdef0.20250131", True),
        ("1.0-abcdef0-dirty", True),
        ("1.0", False),
        ("main", False),
    ],
)
def test_the_tag_of_a_release_that_is_gone_protects_nothing_that_has_a_key(
    tag: str, *, goes: bool
) -> None:
    ours = found("acme/a", "sha256:1", KEY, tag)
    assert bool(swept([], [ours]).delete) == goes
    young = found("acme/a", "sha256:1", KEY, tag, ago=1)
    without_key = found("acme/a", "sha256:1", tag)
    assert not swept([], [young]).delete
    assert not swept([], [without_key]).delete


def test_the_same_digest_in_another_repository_is_another_manifest() -> None:
    shelf = [
        shelved("new", 1, image("nova", "sha256:1"), also=("latest",)),
        shelved("old", 100, image("nova-api", "sha256:1")),
    ]
    manifests = [
        found("acme/nova", "sha256:1", "1.0-a", a=5),
        found("acme/nova-api", "sha256:1", "1.0-a", a=5),
    ]
    result = swept(shelf, manifests)
    assert deleted(result) == [("acme/nova-api", "sha256:1")]
    assert result.freed == 0


def test_parts_of_an_index_go_and_stay_with_it() -> None:
    index = replace(found("acme/a", "sha256:i", KEY), children=("sha256:1", "sha256:2"))
    other = replace(found("acme/a", "sha256:j", "mine"), children=("sha256:2",))
    # The first part of the kept index has a key of its own, as old as can be.
    third = replace(found("acme/b", "sha256:k", "1.0-a"), children=("sha256:3",))
    shelf = [shelved("new", 1, image("b", "sha256:k"), also=("latest",))]
    manifests = [
        index,
        other,
        third,
        found("acme/a", "sha256:1"),
        found("acme/a", "sha256:2"),
        found("acme/b", "sha256:3", KEY),
    ]
    assert sorted(deleted(swept(shelf, manifests))) == [
        ("acme/a", "sha256:1"),
        ("acme/a", "sha256:i"),
    ]


def test_what_hangs_on_an_image_goes_and_stays_with_it() -> None:
    one, other = "1" * 64, "2" * 64
    shelf = [shelved("new", 1, image("b", f"sha256:{other}"), also=("latest",))]
    manifests = [
        found("acme/a", f"sha256:{one}", KEY),
        found("acme/a", "sha256:s", f"sha256-{one}.sig", ago=None),
        found("acme/a", "sha256:v", f"inventory-{one[:40]}", ago=None),
        found("acme/b", f"sha256:{other}", "1.0-a", KEY),
        found("acme/b", "sha256:t", f"sha256-{other}", ago=None),
        found("acme/b", "sha256:w", f"inventory-{one[:40]}", ago=None),
    ]
    result = swept(shelf, manifests)
    assert sorted(deleted(result)) == [
        ("acme/a", f"sha256:{one}"),
        ("acme/a", "sha256:s"),
        ("acme/a", "sha256:v"),
    ]
    assert result.unexplained == ()


def test_whatever_is_kept_stays_whole() -> None:
    """Random registries: nothing that a release which stays names, or hangs on, is deleted."""
    chance = random.Random(4)  # noqa: S311 - a test's dice
    for _ in range(300):
        names = ["a", "b", "c"]
        digests = [f"sha256:{n:064x}" for n in range(6)]
        shelf = [
            shelved(
                f"commit{n}",
                chance.choice([1, 50, 100]),
                *(
                    image(name, chance.choice(digests), f"1.0-{n}")
                    for name in names
                    if chance.random() < 0.7
                ),
                also=("latest",) if n == 0 else (),
            )
            for n in range(4)
        ]
        manifests = [
            replace(
                found(
                    f"acme/{name}",
                    digest,
                    *(
                        one.release.images[name].tag
                        for one in shelf
                        if name in one.release.images and one.release.images[name].digest == digest
                    ),
                    KEY,
                    ago=chance.choice([1, 100]),
                ),
                children=tuple(chance.sample(digests, 1)) if chance.random() < 0.2 else (),
            )
            for name in names
            for digest in digests
        ]
        rule = policy(chance.randrange(3))
        made = {one.place: one.made for one in manifests if one.made is not None}
        verdicts = judge(shelf, made, rule)
        gone = set(deleted(sweep(verdicts, manifests, rule, shelf=SHELF)))
        by_place = {one.place: one for one in manifests}
        for verdict in verdicts:
            if verdict.why:
                for one in verdict.shelved.release.images.values():
                    place = (one.path, one.digest)
                    assert place not in gone
                    for child in by_place[place].children:
                        assert (one.path, child) not in gone
        assert not gone & {one.place for one in manifests if one.made == days(1)} - {
            (one.path, one.digest)
            for verdict in verdicts
            if not verdict.why
            for one in verdict.shelved.release.images.values()
        }


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2025-01-31T12:00:00Z", datetime(2025, 1, 31, 12, tzinfo=timezone.utc)),
        ("2025-01-31T13:00:00+01:00", datetime(2025, 1, 31, 12, tzinfo=timezone.utc)),
        (
            "2025-01-31T12:00:00.123456789Z",
            datetime(2025, 1, 31, 12, microsecond=123456, tzinfo=timezone.utc),
        ),
        ("2025-01-31T12:00:00.5Z", datetime(2025, 1, 31, 12, 0, 0, 500000, timezone.utc)),
        ("0001-01-01T00:00:00Z", None),
        ("", None),
        ("yesterday", None),
    ],
)
def test_moments(text: str, expected: datetime | None) -> None:
    assert moment(text) == expected


def test_a_release_that_names_images_of_others_directs_nobody_to_them() -> None:
    theirs = replace(image("app", "sha256:theirs"), path="customer/app")
    manifests = [
        found("acmes/app", "sha256:theirs", KEY),
        found("customer/app", "sha256:theirs", "1.0-a"),
        found(SHELF, "sha256:old", "old", ago=None),
    ]
    assert deleted(swept([shelved("old", 100, theirs)], manifests)) == [(SHELF, "sha256:old")]
