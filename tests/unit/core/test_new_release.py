"""Which images a release holds, which it says are missing, and what it is called."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest
from msgspec.structs import replace

from builder.config.load import load
from builder.core import new_release
from builder.core.events import Failed, ImageResult, ImageStatus, Summary
from builder.core.graph import ImageGraph
from builder.core.image import InTreeNames
from builder.core.new_release import Frame, ImageRecord, compose
from builder.core.plan import Action, Decision, Plan
from builder.core.release import EarlierReleases, Inputs, Release, ReleasedImage
from builder.tree.discover import discover
from tests.support.decisions import decision
from tests.support.tree import Tree

NOW = 1_700_000_000.0
CREATED = "2023-11-14T22:13:20+00:00"
FRAME = Frame(
    tag="now",
    project="acme",
    namespace="ns",
    commit="c" * 40,
    branch="main",
    tags={name: f"1-{name}-now" for name in ("base", "app", "web")},
)
INPUTS = Inputs(recipe="r")


def image(name: str, tag: str = "1-old", *, digest: str = "sha256:d") -> ReleasedImage:
    return ReleasedImage(
        name=name, path=name, tag=tag, digest=digest, key=f"k-{name}", group="g", inputs=INPUTS
    )


def release(
    tag: str, *images: ReleasedImage, previous: str = "", missing: Mapping[str, str] | None = None
) -> Release:
    return Release(
        tag=tag,
        project="acme",
        namespace="ns",
        commit="c" * 40,
        created=CREATED,
        branch="main",
        previous=previous,
        images={one.name: one for one in images},
        missing=missing or {},
    )


def plan(*steps: Decision) -> Plan:
    return Plan(commit="", dirty=False, steps=steps)


def result(name: str, status: ImageStatus = ImageStatus.OK, **fields: object) -> ImageResult:
    fields = {"key": f"k-{name}", "digest": "sha256:d", **fields}
    return ImageResult(image=name, action="build", status=status, **fields)  # type: ignore[arg-type]


def summary(*results: ImageResult) -> Summary:
    return Summary(
        run_id="r",
        commit="",
        dirty=False,
        status="ok",
        started=0,
        seconds=0,
        bound_seconds=0,
        exit_code=0,
        images={one.image: one for one in results},
    )


OLD = EarlierReleases(last=release("old", image("base"), image("app"), image("gone")))


def names(composed: Release) -> dict[str, str]:
    return {name: one.tag for name, one in composed.images.items()}


def test_what_a_run_has_left_alone_is_kept_unless_the_tree_has_lost_it() -> None:
    made = {"app": image("app", "1-app-now", digest="sha256:new")}
    composed = compose(FRAME, OLD, made=made, missing={}, now=NOW)
    assert composed == replace(
        release("now", image("app", "1-app-now", digest="sha256:new"), image("base")),
        previous="old",
    )


def test_the_first_release_goes_on_from_none() -> None:
    composed = compose(FRAME, EarlierReleases(), made={"app": image("app")}, missing={}, now=NOW)
    assert (composed.previous, list(composed.images), composed.created) == ("", ["app"], CREATED)


def test_what_could_not_be_made_is_not_kept_and_stays_missing_until_it_is() -> None:
    failed = compose(FRAME, OLD, made={}, missing={"app": "no"}, now=NOW)
    assert (names(failed), failed.missing) == ({"base": "1-old"}, {"app": "no"})
    again = EarlierReleases(last=failed)
    assert compose(FRAME, again, made={}, missing={}, now=NOW).missing == {"app": "no"}
    assert compose(FRAME, again, made={}, missing={"app": "yet"}, now=NOW).missing == {"app": "yet"}
    assert compose(FRAME, again, made={"app": image("app")}, missing={}, now=NOW).missing == {}
    without = replace(FRAME, tags={"base": "1"})
    assert compose(without, again, made={}, missing={}, now=NOW).missing == {}


def test_a_release_of_the_same_tag_goes_on_from_what_that_one_went_on_from() -> None:
    same = release("now", image("base"), previous="older")
    earlier = EarlierReleases(same=same, last=release("newer", image("app")))
    composed = compose(FRAME, earlier, made={"web": image("web")}, missing={}, now=NOW)
    assert (composed.previous, list(composed.images)) == ("older", ["base", "web"])


def test_a_release_that_says_the_same_is_the_same_whenever_it_was_made() -> None:
    same = release("now", image("base"), previous="old")
    earlier = EarlierReleases(same=same, last=same)
    assert compose(FRAME, earlier, made={}, missing={}, now=NOW + 99) is same
    assert compose(replace(FRAME, dirty=True), earlier, made={}, missing={}, now=NOW) is not same


def test_a_refresh_gives_what_it_takes_over_its_own_tags() -> None:
    refresh = replace(FRAME, refresh=True)
    assert names(compose(refresh, OLD, made={}, missing={}, now=NOW)) == {
        "app": "1-app-now",
        "base": "1-base-now",
    }
    assert new_release.kept(OLD, ["app"], ["base"], refresh) == {}


@pytest.mark.parametrize(
    ("action", "selected", "status", "digest", "expected"),
    [
        (Action.BUILD, True, ImageStatus.OK, "d", True),
        (Action.BUILD, False, ImageStatus.OK, "d", True),
        (Action.REUSE, True, ImageStatus.OK, "d", True),
        (Action.REUSE, False, ImageStatus.OK, "d", False),
        (Action.RETAG, True, ImageStatus.OK, "d", True),
        (Action.BUILD, True, ImageStatus.OK, None, False),
        (Action.BUILD, True, ImageStatus.FAILED, "d", False),
        (Action.RETAG, True, ImageStatus.SKIPPED, "d", False),
    ],
)
def test_only_what_has_its_tag_is_published(
    action: Action, *, selected: bool, status: ImageStatus, digest: str | None, expected: bool
) -> None:
    of = new_release.published(
        plan(decision("app", action=action, selected=selected)),
        summary(result("app", status, digest=digest)),
    )
    assert bool(of) is expected


def test_where_all_is_as_the_release_has_it_nothing_is_to_be_done() -> None:
    same = replace(OLD, same=release("now"))
    reuse, retag = decision("base", action=Action.REUSE), decision("app", action=Action.RETAG)
    assert new_release.nothing_to_do(plan(reuse), same)
    assert not new_release.nothing_to_do(plan(reuse, retag), same)
    assert not new_release.nothing_to_do(plan(reuse), OLD)


def test_optional_images_that_failed_are_missing_with_one_line() -> None:
    found = new_release.missing(
        summary(
            result("base", ImageStatus.FAILED, error=Failed(message="a\nb", exit_code=1)),
            result(
                "app", ImageStatus.FAILED, error=Failed(message="a\nb", exit_code=1), optional=True
            ),
            result("web", ImageStatus.BLOCKED, blocked_by="app", optional=True),
            result("fine", optional=True),
        )
    )
    assert found == {"app": "a", "web": "app failed"}


def test_an_image_that_a_release_has_is_taken_from_there_with_its_new_tag() -> None:
    before = replace(image("app"), size=7, inventory="sha256:i")
    earlier = EarlierReleases(last=release("old", before))
    now = Inputs(recipe="r", tests="t")
    assert new_release.known(result("app"), now, earlier, FRAME) == replace(
        before, tag="1-app-now", inputs=now
    )
    for other in (result("app", digest="sha256:e"), result("app", key="other")):
        assert new_release.known(other, now, earlier, FRAME) is None
    assert new_release.known(result("web"), now, earlier, FRAME) is None


@pytest.mark.parametrize(
    ("dockerfile", "assembled", "inventory", "base"),
    [
        ("FROM base\n", True, "", "base"),
        ("FROM base\n", False, "i", ""),
        # Found in the registry, where an earlier run has put it together.
        ("FROM base\n", False, "", "base"),
        ("FROM debian:12\n", True, "", ""),
        ("FROM scratch\nCOPY --from=base /a /a\n", True, "", ""),
    ],
)
def test_only_what_was_put_together_has_the_packages_of_its_base(
    tmp_path: Path, dockerfile: str, *, assembled: bool, inventory: str, base: str
) -> None:
    tree = Tree(tmp_path, {"base": "FROM scratch\nCOPY a /a\n", "app": dockerfile})
    sources = discover(load(tree.root / "build.toml", []))
    app = ImageGraph.of(sources, InTreeNames(namespace="acme"))["app"]
    made = new_release.new(
        app,
        replace(result("app"), assembled=assembled),
        INPUTS,
        ImageRecord(digest="sha256:d", media_type="m", size=7, inventory=inventory),
        tag="1",
        generation=2,
    )
    assert (made.base, made.path, made.inventory) == (base, "acme/app", inventory)
    assert (made.digest, made.key, made.size, made.generation) == ("sha256:d", "k-app", 7, 2)


@pytest.mark.parametrize(
    ("dirty", "refresh", "tags"),
    [
        (False, False, ("latest",)),
        (False, True, ("nightly", "latest")),
        (True, False, ()),
        (True, True, ()),
    ],
)
def test_a_tree_with_edits_moves_no_tag(
    *, dirty: bool, refresh: bool, tags: tuple[str, ...]
) -> None:
    assert new_release.moving_tags(replace(FRAME, dirty=dirty, refresh=refresh)) == tags


@pytest.mark.parametrize(
    ("short", "suffix", "dirty", "tag"),
    [
        ("abc", "", False, "abc"),
        ("", "", False, "none"),
        ("abc", "20250131", False, "abc.20250131"),
        ("abc", "", True, "abc-dirty"),
        ("abc", "20250131", True, "abc.20250131-dirty"),
    ],
)
def test_a_release_is_called_by_its_commit(
    short: str, suffix: str, *, dirty: bool, tag: str
) -> None:
    assert new_release.release_tag(short, suffix=suffix, dirty=dirty) == tag


@pytest.mark.parametrize(
    ("same", "last", "dirty", "behind"),
    [
        (None, "2026-01-01T00:00:00+00:00", False, False),
        ("2026-01-02T00:00:00+00:00", "2026-01-01T00:00:00+00:00", False, True),
        # A rerun of an old commit moves nothing back.
        ("2026-01-01T00:00:00+00:00", "2026-01-02T00:00:00+00:00", False, False),
        ("2026-01-01T00:00:00+00:00", None, False, True),
        ("2026-01-02T00:00:00+00:00", "2026-01-01T00:00:00+00:00", True, False),
        ("", "2026-01-01T00:00:00+00:00", False, False),
    ],
)
def test_a_release_that_is_the_newest_and_not_called_so_was_left_behind(
    same: str | None, last: str | None, *, dirty: bool, behind: bool
) -> None:
    earlier = EarlierReleases(
        same=None if same is None else replace(release("now"), created=same),
        last=None if last is None else replace(release("last"), created=last),
    )
    assert new_release.is_left_behind(earlier, replace(FRAME, dirty=dirty)) is behind
    called = EarlierReleases(same=earlier.same, last=earlier.same)
    assert not new_release.is_left_behind(called, FRAME)
