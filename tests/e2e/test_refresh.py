"""The nightly run: what went stale is found without pulling, and only that is made anew."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import Ended, Ocbuild, ask, docker
from tests.support.aptrepo import AptRepository
from tests.support.registry import LocalRegistry, require
from tests.support.tree import Tree

pytestmark = [pytest.mark.e2e, pytest.mark.engine]
DEBIAN = "ocbuild-bootstrap/debian:trixie-slim"
INSTALL = "RUN apt-get update && apt-get install --yes --no-install-recommends"


@pytest.fixture
def apt(tmp_path: Path) -> Iterator[AptRepository]:
    with AptRepository(tmp_path / "apt") as repository:
        repository.add("toy", "1.0")
        repository.add("other", "1.0")
        yield repository


@pytest.fixture
def upstream(registry: LocalRegistry, namespace: str) -> Iterator[str]:
    """Debian as an external base in the registry, which can be moved there."""
    require(docker("images", "--quiet", DEBIAN), f"the image {DEBIAN} (`ocbuild base` makes it)")
    name = f"{registry.address}/upstream-{namespace}/debian:1"
    docker("tag", DEBIAN, name)
    docker("push", "--quiet", name)
    yield name
    docker("rmi", "--force", name, check=False)


@pytest.fixture
def tree(
    tmp_path: Path, registry: LocalRegistry, namespace: str, upstream: str, apt: AptRepository
) -> Tree:
    """A base with Debian's packages and our archive; ``toy`` and ``other`` stand on it."""
    toml = f"""\
    [project]
    namespace = "{namespace}"
    registry = "{registry.address}"

    [groups.images]
    version = "1.0"
    """
    sources = f'rm -f /etc/apt/sources.list.d/* && echo "{apt.entry}" > /etc/apt/sources.list'
    images = {
        "base": f"FROM {upstream}\nRUN {sources}\n",
        "toy": f"FROM base\n{INSTALL} toy\n",
        "toy-api": "FROM toy\nRUN echo api > /api\n",
        "other": f"FROM base\n{INSTALL} other\n",
    }
    tree = Tree(tmp_path / "tree", images, toml=toml)
    tree.write(".gitignore", ".ocbuild/\n")
    tree.commit()
    return tree


def move(upstream: str, folder: Path) -> None:
    """Publish another image under the name of the external base, and leave the engine its own."""
    folder.mkdir()
    (folder / "Dockerfile").write_text(f"FROM {DEBIAN}\nRUN echo moved > /moved\n")
    newer = f"{upstream}-newer"
    docker("build", "--quiet", "--tag", newer, str(folder))
    docker("tag", newer, upstream)
    docker("push", "--quiet", upstream)
    docker("tag", DEBIAN, upstream)
    docker("rmi", "--force", newer)


def checked(ended: Ended) -> Any:
    assert ended.code == 0, ended.err
    return json.loads(ended.out)


def actions(ocbuild: Ocbuild) -> dict[str, str]:
    return {name: image["action"] for name, image in ocbuild.report()["images"].items()}


def release(registry: LocalRegistry, namespace: str, tag: str) -> Any:
    """What a tag of the release names: the JSON that was stored."""
    manifest, _ = ask(
        registry,
        f"{namespace}/release/manifests/{tag}",
        "application/vnd.oci.image.manifest.v1+json",
    )
    digest = manifest["layers"][0]["digest"]
    return ask(registry, f"{namespace}/release/blobs/{digest}")[0]


def digests(found: Any) -> dict[str, str]:
    return {name: image["digest"] for name, image in found["images"].items()}


def version_in(registry: LocalRegistry, namespace: str, digest: str) -> str:
    reference = f"{registry.address}/{namespace}/toy@{digest}"
    return docker("run", "--rm", reference, "cat", "/usr/share/toy/version")


def test_an_outdated_package_is_found_and_only_its_subtree_is_made_anew(
    ocbuild: Ocbuild,
    tree: Tree,
    registry: LocalRegistry,
    namespace: str,
    apt: AptRepository,
) -> None:
    assert ocbuild("all", "--push").code == 0
    before = release(registry, namespace, "latest")
    nothing = ocbuild("refresh", "--push")
    assert nothing.code == 0, nothing.err
    assert "nothing of release" in nothing.out
    assert release(registry, namespace, "latest") == before

    apt.add("toy", "1.1")
    found = checked(ocbuild("refresh", "--dry-run", "--json"))
    assert found["stale"] == {
        "toy": {
            "packages": [
                {
                    "package": "toy",
                    "architecture": "all",
                    "source": "toy",
                    "installed": "1.0",
                    "candidate": "1.1",
                }
            ],
            "bases": [],
        }
    }
    assert found["rebuilt_with"] == {"toy-api": ["toy"]}
    assert release(registry, namespace, "latest") == before

    ended = ocbuild("refresh", "--push")
    assert ended.code == 0, ended.err
    built = {name for name, action in actions(ocbuild).items() if action == "build"}
    assert built == {"toy", "toy-api"}
    after = release(registry, namespace, "latest")
    assert release(registry, namespace, "nightly") == after
    old, new = digests(before), digests(after)
    assert {name for name in new if new[name] != old[name]} == {"toy", "toy-api"}
    assert after["tag"].startswith(f"{before['tag']}.20")
    assert after["images"]["toy"]["generation"] == 1
    assert after["images"]["toy-api"]["generation"] == 0
    assert version_in(registry, namespace, new["toy"]) == "1.1"
    assert version_in(registry, namespace, old["toy"]) == "1.0"
    for name, image in after["images"].items():
        for tag in (image["tag"], "nightly"):
            _, headers = ask(registry, f"{namespace}/{name}/manifests/{tag}")
            assert headers["Docker-Content-Digest"] == new[name], f"{name}:{tag}"
    assert not checked(ocbuild("refresh", "--dry-run", "--json"))["stale"]


def test_a_new_commit_goes_on_from_the_refreshed_images(
    ocbuild: Ocbuild, tree: Tree, registry: LocalRegistry, namespace: str, apt: AptRepository
) -> None:
    assert ocbuild("all", "--push").code == 0
    apt.add("toy", "1.1")
    assert ocbuild("refresh", "--push").code == 0
    refreshed = release(registry, namespace, "latest")
    commit = tree.commit("nothing that an image could see")
    ended = ocbuild("all", "--push")
    assert ended.code == 0, ended.err
    found = release(registry, namespace, "latest")
    assert found["tag"] == commit
    assert found["previous"] == refreshed["tag"]
    for name, image in found["images"].items():
        assert image["key"] == refreshed["images"][name]["key"], name
        assert image["generation"] == refreshed["images"][name]["generation"], name
    assert version_in(registry, namespace, found["images"]["toy"]["digest"]) == "1.1"
    assert not checked(ocbuild("refresh", "--dry-run", "--json"))["stale"]


def test_the_next_run_of_anybody_takes_the_refreshed_images_by_their_keys(
    ocbuild: Ocbuild, tree: Tree, registry: LocalRegistry, namespace: str, apt: AptRepository
) -> None:
    assert ocbuild("all", "--push").code == 0
    apt.add("toy", "1.1")
    assert ocbuild("refresh", "--push").code == 0
    refreshed = digests(release(registry, namespace, "latest"))
    again = ocbuild("all", "--push")
    assert again.code == 0, again.err
    assert "build" not in actions(ocbuild).values()
    assert digests(release(registry, namespace, "latest")) == refreshed
    tree.commit("nothing that an image could see")
    ended = ocbuild("all", "--push")
    assert ended.code == 0, ended.err
    assert "build" not in actions(ocbuild).values()
    found = release(registry, namespace, "latest")
    assert digests(found) == refreshed
    assert found["images"]["toy"]["generation"] == 1
    assert not checked(ocbuild("refresh", "--dry-run", "--json"))["stale"]


def test_a_second_refresh_on_a_day_gets_a_tag_of_its_own(
    ocbuild: Ocbuild, tree: Tree, registry: LocalRegistry, namespace: str, apt: AptRepository
) -> None:
    assert ocbuild("all", "--push").code == 0
    days: list[str] = []
    # Midnight may come between any two of them, but not between all three.
    for generation in (1, 2, 3):
        apt.add("other", f"1.{generation}")
        assert ocbuild("refresh", "--push").code == 0
        found = release(registry, namespace, "nightly")
        assert found["images"]["other"]["generation"] == generation
        commit, day, *count = found["tag"].split(".")
        assert commit == found["commit"][:7]
        days.append(day)
        nth = days.count(day)
        assert count == ([] if nth == 1 else [str(nth)])
    assert len(set(days)) < len(days)


def test_a_moved_base_is_found_and_its_subtree_stands_on_the_new_one(  # noqa: PLR0917
    ocbuild: Ocbuild,
    tree: Tree,
    registry: LocalRegistry,
    namespace: str,
    upstream: str,
    tmp_path: Path,
) -> None:
    tree.image("alone", "FROM scratch\nCOPY hello /hello\n")
    tree.write("images/alone/hello", "world\n")
    tree.commit()
    assert ocbuild("all", "--push").code == 0
    before = release(registry, namespace, "latest")
    move(upstream, tmp_path / "newer")
    found = checked(ocbuild("refresh", "--dry-run", "--json"))
    assert list(found["stale"]) == ["base"]
    (moved,) = found["stale"]["base"]["bases"]
    assert moved["base"] == upstream
    assert moved["built_on"] == before["images"]["base"]["inputs"]["bases"][upstream]
    assert sorted(found["rebuilt_with"]) == ["other", "toy", "toy-api"]
    ended = ocbuild("refresh", "--push")
    assert ended.code == 0, ended.err
    after = release(registry, namespace, "nightly")
    assert after["images"]["base"]["inputs"]["bases"][upstream] == moved["now"]
    assert digests(after)["alone"] == digests(before)["alone"]
    toy = f"{registry.address}/{namespace}/toy@{digests(after)['toy']}"
    assert docker("run", "--rm", toy, "cat", "/moved") == "moved"
    assert not checked(ocbuild("refresh", "--dry-run", "--json"))["stale"]


def test_a_locked_base_stays_until_the_lock_is_moved(  # noqa: PLR0917
    ocbuild: Ocbuild,
    tree: Tree,
    registry: LocalRegistry,
    namespace: str,
    upstream: str,
    tmp_path: Path,
) -> None:
    unlocked = ocbuild("all", "--locked")
    assert unlocked.code == 2
    assert f"the base {upstream} is not locked" in unlocked.err
    early = ocbuild("base", "--lock", "--push")
    assert early.code == 2
    assert "build.lock has changed" in early.err
    assert ocbuild("base", "--lock").code == 0
    assert ocbuild("all", "--push").code == 2, "a lock that is not committed is an edit"
    tree.commit("lock the base")
    locked = (tree.root / "build.lock").read_text()
    move(upstream, tmp_path / "newer")
    ended = ocbuild("all", "--push", "--locked")
    assert ended.code == 0, ended.err
    built_on = release(registry, namespace, "latest")["images"]["base"]["inputs"]["bases"][upstream]
    assert built_on in locked
    check = ocbuild("refresh", "--dry-run", "--json")
    assert checked(check)["stale"] == {}
    assert "build.lock holds it" in check.err
    assert (tree.root / "build.lock").read_text() == locked
    moved = ocbuild("refresh", "--lock")
    assert moved.code == 0, moved.err
    now = (tree.root / "build.lock").read_text()
    assert built_on not in now
    assert ocbuild.report()["images"]["base"]["action"] == "build"


def test_a_package_that_stays_old_is_tried_once_and_then_only_told_of(
    ocbuild: Ocbuild, tree: Tree, registry: LocalRegistry, namespace: str, apt: AptRepository
) -> None:
    tree.image("toy", f"FROM base\n{INSTALL} toy=1.0\n")
    tree.commit()
    assert ocbuild("all", "--push").code == 0
    apt.add("toy", "1.1")
    first = ocbuild("refresh", "--push")
    assert first.code == 0, first.err
    assert "toy is still 1.0" in first.err
    made = release(registry, namespace, "latest")
    second = ocbuild("refresh", "--push", "--json")
    found = checked(second)
    assert found["stale"] == {}
    assert [one["candidate"] for one in found["held"]["toy"]] == ["1.1"]
    assert release(registry, namespace, "latest") == made
    apt.add("toy", "1.2")
    assert list(checked(ocbuild("refresh", "--dry-run", "--json"))["stale"]) == ["toy"]


def test_a_source_that_does_not_answer_is_named_and_nothing_is_lost(
    ocbuild: Ocbuild, tree: Tree, apt: AptRepository
) -> None:
    assert ocbuild("all", "--push").code == 0
    apt.close()
    ended = ocbuild("refresh", "--dry-run", "--json")
    found = checked(ended)
    assert found["stale"] == {}
    (line,) = found["not_checked"]
    assert apt.uri in line
    assert f"not checked: {line}" in ended.err


def test_the_section_refresh_says_what_counts(
    ocbuild: Ocbuild, tree: Tree, apt: AptRepository, upstream: str, tmp_path: Path
) -> None:
    assert ocbuild("all", "--push").code == 0
    apt.add("toy", "1.1")
    move(upstream, tmp_path / "newer")
    words = ("refresh", "--dry-run", "--json", "--set")
    assert list(checked(ocbuild(*words, "refresh.bases=false"))["stale"]) == ["toy"]
    assert list(checked(ocbuild(*words, "refresh.packages=false"))["stale"]) == ["base"]
    only = checked(ocbuild("refresh", "other", "--dry-run", "--json"))
    assert only["stale"] == {}


def test_a_tree_that_has_gone_on_is_published_before_it_is_refreshed(
    ocbuild: Ocbuild, tree: Tree, registry: LocalRegistry, namespace: str, apt: AptRepository
) -> None:
    assert ocbuild("all", "--push").code == 0
    before = release(registry, namespace, "latest")
    apt.add("toy", "1.1")
    tree.commit("a change")
    assert list(checked(ocbuild("refresh", "--dry-run", "--json"))["stale"]) == ["toy"]
    ended = ocbuild("refresh", "--push")
    assert ended.code == 2
    assert "ocbuild all --push" in ended.err
    assert release(registry, namespace, "latest") == before


def test_an_edit_while_the_check_goes_on_is_not_published_as_if_it_were_committed(
    ocbuild: Ocbuild, tree: Tree, registry: LocalRegistry, namespace: str, apt: AptRepository
) -> None:
    assert ocbuild("all", "--push").code == 0
    before = release(registry, namespace, "latest")
    apt.add("toy", "1.1")
    apt.when_asked = lambda: tree.image("toy", f"FROM base\n{INSTALL} toy && echo edited > /e\n")
    ended = ocbuild("refresh", "--push")
    assert ended.code == 2, ended.err
    assert "uncommitted edits" in ended.err
    assert release(registry, namespace, "latest") == before


def test_without_a_push_the_images_are_made_and_nothing_is_published(
    ocbuild: Ocbuild, tree: Tree, registry: LocalRegistry, namespace: str, apt: AptRepository
) -> None:
    assert ocbuild("all", "--push").code == 0
    before = release(registry, namespace, "latest")
    apt.add("toy", "1.1")
    ended = ocbuild("refresh")
    assert ended.code == 0, ended.err
    (reference, _) = ocbuild.report()["images"]["toy"]["refs"]
    assert docker("run", "--rm", reference, "cat", "/usr/share/toy/version") == "1.1"
    assert release(registry, namespace, "latest") == before


def test_without_a_release_there_is_nothing_to_refresh(ocbuild: Ocbuild, tree: Tree) -> None:
    ended = ocbuild("refresh", "--dry-run")
    assert ended.code == 4
    assert "there is no release" in ended.err
    assert "ocbuild all --push" in ended.err


def test_a_base_that_is_pointed_elsewhere_is_another_base_and_back_again(
    ocbuild: Ocbuild, tree: Tree, upstream: str, tmp_path: Path
) -> None:
    assert ocbuild("all", "--push").code == 0
    (tmp_path / "other").mkdir()
    (tmp_path / "other/Dockerfile").write_text(f"FROM {upstream}\nRUN echo other > /other\n")
    other = f"{upstream}-other"
    docker("build", "--quiet", "--tag", other, str(tmp_path / "other"))
    docker("push", "--quiet", other)
    toml = (tree.root / "build.toml").read_text()
    try:
        tree.write("build.toml", f'{toml}\n[contexts]\n"{upstream}" = "docker-image://{other}"\n')
        tree.commit("another base")
        ended = ocbuild("all", "--push")
        assert ended.code == 0, ended.err
        assert actions(ocbuild) == dict.fromkeys(("base", "other", "toy", "toy-api"), "build")
        reasons = " ".join(ocbuild.report()["images"]["base"]["reasons"])
        assert f"base {upstream} moved from" in reasons
        tree.write("build.toml", toml)
        tree.commit("the first one again")
        ended = ocbuild("all", "--push")
        assert ended.code == 0, ended.err
        assert actions(ocbuild) == dict.fromkeys(("base", "other", "toy", "toy-api"), "retag")
    finally:
        docker("rmi", "--force", other)
