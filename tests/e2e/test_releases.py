"""Releases as commands see them: listed, compared, verified, copied and pruned."""

from __future__ import annotations

import urllib.error
from collections.abc import Iterator

import pytest

from tests.e2e.conftest import Ocbuild, ask, docker
from tests.support.registry import LocalRegistry
from tests.support.tree import Tree

pytestmark = [pytest.mark.e2e, pytest.mark.engine]
OCI = "application/vnd.oci.image.manifest.v1+json"


@pytest.fixture
def commits(ocbuild: Ocbuild, tree: Tree) -> tuple[str, str]:
    """Two published commits; only ``app`` differs."""
    tree.image("app", "FROM base\nCOPY text /text\n")
    tree.write("images/app/text", "one\n")
    first = tree.commit()
    assert ocbuild("all", "--push").code == 0
    tree.write("images/app/text", "two\n")
    second = tree.commit("another text")
    ended = ocbuild("app", "--push")
    assert ended.code == 0, ended.err
    return first, second


@pytest.fixture
def elsewhere() -> Iterator[LocalRegistry]:
    with LocalRegistry() as running:
        yield running


def test_releases_are_listed_newest_first_and_shown_whole(
    ocbuild: Ocbuild, commits: tuple[str, str]
) -> None:
    first, second = commits
    listed = ocbuild("release", "ls", "--json").json
    assert [(one["tag"], one["latest"]) for one in listed] == [(second, True), (first, False)]
    shown = ocbuild("release", "show", "--json").json
    assert shown["tag"] == second
    assert shown["previous"] == first
    # What was not selected is taken from the release before.
    assert {name: image["tag"] for name, image in shown["images"].items()} == {
        "app": f"1.0-{second}",
        "base": f"1.0-{first}",
    }
    lines = ocbuild("release", "ls").out.splitlines()
    assert [line.split()[0] for line in lines] == ["RELEASE", second, first]


def test_a_difference_names_what_changed_and_nothing_else(
    ocbuild: Ocbuild, commits: tuple[str, str]
) -> None:
    found = ocbuild("release", "diff", *commits, "--json").json
    assert list(found["changed"]) == ["app"]
    assert not found["added"]
    assert not found["removed"]
    same = ocbuild("release", "diff", commits[0], commits[0])
    assert "0 changed" in same.out


def test_a_release_that_is_not_there_is_answered_with_the_nearest(
    ocbuild: Ocbuild, commits: tuple[str, str]
) -> None:
    ended = ocbuild("release", "show", f"{commits[0][:6]}x")
    assert ended.code == 4
    assert commits[0] in ended.err


def test_verify_finds_the_tag_that_somebody_moved(
    ocbuild: Ocbuild,
    commits: tuple[str, str],
    registry: LocalRegistry,
    namespace: str,
) -> None:
    first, second = commits
    assert ocbuild("release", "verify", first, "--deep").code == 0
    app = f"{registry.address}/{namespace}/app:1.0"
    docker("tag", f"{app}-{second}", f"{app}-{first}")
    docker("push", "--quiet", f"{app}-{first}")
    ended = ocbuild("release", "verify", first)
    assert ended.code == 4
    assert f"the tag 1.0-{first} names" in ended.out
    assert ocbuild("release", "verify", second).code == 0


def test_a_promoted_release_is_whole_in_the_other_registry(
    ocbuild: Ocbuild,
    commits: tuple[str, str],
    registry: LocalRegistry,
    namespace: str,
    elsewhere: LocalRegistry,
) -> None:
    _, second = commits
    target = f"{elsewhere.address}/{namespace}-prod"
    promote = ("release", "promote", second, "--to", target)
    forecast = ocbuild(*promote, "--dry-run")
    assert forecast.code == 0, forecast.err
    assert ask(elsewhere, "_catalog")[0]["repositories"] == []
    ended = ocbuild(*promote)
    assert ended.code == 0, ended.err
    there = ("--registry", elsewhere.address, "--namespace", f"{namespace}-prod")
    assert ocbuild("release", "verify", second, "--deep", *there).code == 0
    here = ocbuild("release", "show", second, "--json").json
    copied = ocbuild("release", "show", "latest", "--json", *there).json
    for name, image in here["images"].items():
        assert copied["images"][name]["digest"] == image["digest"], name
        assert copied["images"][name]["inventory"] == image["inventory"] != "", name
    again = ocbuild(*promote, "--json")
    assert again.code == 0, again.err
    assert again.json["copied_bytes"] == 0
    reference = f"{target}/app:1.0-{second}"
    try:
        assert docker("run", "--rm", reference, "cat", "/text") == "two"
    finally:
        docker("rmi", "--force", reference, check=False)


def test_prune_deletes_the_old_release_and_leaves_the_kept_one_whole(
    ocbuild: Ocbuild, commits: tuple[str, str], registry: LocalRegistry, namespace: str
) -> None:
    first, second = commits
    words = ("prune", "--keep-commits", "1", "--keep-days", "0")
    shown = ocbuild(*words)
    assert shown.code == 0, shown.err
    assert "nothing was deleted" in shown.out
    assert len(ocbuild("release", "ls", "--json").json) == 2
    before = ocbuild("release", "show", first, "--json").json["images"]

    ended = ocbuild(*words, "--yes", "--json")
    assert ended.code == 0, ended.err
    assert {one["tag"]: one["keep"] for one in ended.json["releases"]} == {
        first: False,
        second: True,
    }
    assert [one["tag"] for one in ocbuild("release", "ls", "--json").json] == [second]
    assert ocbuild("release", "verify", second, "--deep").code == 0
    gone = before["app"]
    for digest in (gone["digest"], gone["inventory"]):
        with pytest.raises(urllib.error.HTTPError):
            ask(registry, f"{namespace}/app/manifests/{digest}", OCI)
    nothing = ocbuild(*words, "--yes", "--json").json
    assert nothing["manifests"] == []


def test_a_tree_with_edits_is_a_release_that_is_never_the_latest(
    ocbuild: Ocbuild, commits: tuple[str, str], tree: Tree
) -> None:
    _, second = commits
    tree.write("images/app/text", "three\n")
    ended = ocbuild("app", "--push", "--allow-dirty")
    assert ended.code == 0, ended.err
    listed = {one["tag"]: one["latest"] for one in ocbuild("release", "ls", "--json").json}
    assert listed[second] is True
    assert listed[f"{second}-dirty"] is False


def test_an_optional_image_that_fails_is_missing_and_not_the_old_one(
    ocbuild: Ocbuild, commits: tuple[str, str], tree: Tree, registry: LocalRegistry, namespace: str
) -> None:
    toml = (tree.root / "build.toml").read_text()
    tree.write("build.toml", toml + "[images.app]\noptional = true\n")
    tree.image("app", "FROM base\nRUN false\n")
    third = tree.commit("break it")
    ended = ocbuild("all", "--push")
    assert ended.code == 0, ended.err
    repository = f"{registry.address}/{namespace}/release"
    assert ocbuild.report()["release"] == f"{repository}:{third}"
    shown = ocbuild("release", "show", "--json").json
    assert list(shown["images"]) == ["base"]
    assert "false" in shown["missing"]["app"]
    # It stays missing when others are published alone.
    assert ocbuild("base", "--push").code == 0
    again = ocbuild("release", "show", "--json").json
    assert again["missing"] == shown["missing"]
    assert again["previous"] == commits[1]
