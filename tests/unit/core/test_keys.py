"""Content keys: what can change an image changes its key, and nothing else does."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from builder.core.bases import ResolvedBase
from builder.core.keys import oci_labels
from builder.core.options import BuildOptions, SelectOptions, TreeOptions
from builder.run.facts import Sources, identify
from builder.tree.read import Tree as ReadTree, choose_images, for_engine, read_tree
from tests.support.tree import Tree

DEBIAN = ResolvedBase(text="debian:12", context="x", reference="debian:12", digest="sha256:1")
IMAGES: Mapping[str, str | Mapping[str, str]] = {
    "base": {
        "Dockerfile": "FROM debian:12\nARG FLAVOUR=plain\nCOPY run lib /srv/\nRUN make $FLAVOUR",
        "run": "#!/bin/sh\n",
        "lib/a": "a",
        "notes.txt": "nobody copies this",
    },
    "app": "FROM base\nLABEL a=b",
    "other": "FROM scratch\nCOPY --from=debian:12 /etc/debian_version /",
}


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    return Tree(tmp_path, IMAGES)


def read(tree: Tree, *sets: str) -> ReadTree:
    return read_tree(TreeOptions(config=tree.root / "build.toml", sets=sets))


def sources_of(
    whole: ReadTree, platform: str = "linux/amd64", engine_class: str = "buildkit"
) -> Sources:
    return Sources(
        tree=whole,
        selection=choose_images(whole, SelectOptions(targets=("all",))),
        options=BuildOptions(engine=engine_class if engine_class == "classic" else None),
        platform=platform,
    )


def keys(
    tree: Tree,
    *sets: str,
    digest: str = "sha256:1",
    platform: str = "linux/amd64",
    engine_class: str = "buildkit",
) -> dict[str, str]:
    base = ResolvedBase(text="debian:12", context="x", reference="debian:12", digest=digest)
    whole = read(tree, *sets)
    identities = identify(sources_of(whole, platform, engine_class), {"debian:12": base})
    return {name: identity.key for name, identity in identities.items()}


def changed(before: Mapping[str, str], after: Mapping[str, str]) -> set[str]:
    return {name for name in before if before[name] != after[name]}


def test_a_key_is_64_digits_and_the_same_twice(tree: Tree) -> None:
    first = keys(tree)
    assert all(len(key) == 64 and int(key, 16) >= 0 for key in first.values())
    assert keys(tree) == first


def test_a_byte_of_a_copied_file_changes_the_image_and_what_is_built_on_it(tree: Tree) -> None:
    before = keys(tree)
    tree.write("images/base/run", "#!/bin/bash\n")
    assert changed(before, keys(tree)) == {"base", "app"}


def test_a_file_below_a_copied_folder_counts(tree: Tree) -> None:
    before = keys(tree)
    tree.write("images/base/lib/b", "new")
    assert changed(before, keys(tree)) == {"base", "app"}


def test_a_file_that_nothing_copies_changes_no_key(tree: Tree) -> None:
    before = keys(tree)
    tree.write("images/base/notes.txt", "other words")
    tree.write("images/base/more/junk", "junk")
    assert changed(before, keys(tree)) == set()


def test_an_mtime_changes_no_key(tree: Tree) -> None:
    before = keys(tree)
    os.utime(tree.root / "images/base/run", (1, 1))
    assert changed(before, keys(tree)) == set()


def test_a_mode_bit_changes_the_key(tree: Tree) -> None:
    before = keys(tree)
    (tree.root / "images/base/run").chmod(0o755)
    assert changed(before, keys(tree)) == {"base", "app"}


def test_a_link_target_changes_the_key(tree: Tree) -> None:
    link = tree.root / "images/base/lib/link"
    link.symlink_to("a")
    before = keys(tree)
    link.unlink()
    link.symlink_to("./a")
    assert changed(before, keys(tree)) == {"base", "app"}


def test_comments_and_blank_lines_change_no_key(tree: Tree) -> None:
    before = keys(tree)
    dockerfile = tree.root / "images/app/Dockerfile"
    dockerfile.write_text("# why\n\n" + dockerfile.read_text())
    assert changed(before, keys(tree)) == set()


def test_an_instruction_changes_the_key(tree: Tree) -> None:
    before = keys(tree)
    tree.write("images/app/Dockerfile", "FROM base\nLABEL a=c")
    assert changed(before, keys(tree)) == {"app"}


APP = "FROM base AS made\nENV P=c\\\\d\nFROM made\nCMD app\n"


@pytest.mark.parametrize(
    "directive", ["escape=`", "syntax=docker/dockerfile:1", "check=error=true"]
)
def test_a_directive_changes_the_key(tree: Tree, directive: str) -> None:
    tree.image("app", APP)
    before = keys(tree)
    tree.image("app", f"# {directive}\n{APP}")
    assert changed(before, keys(tree)) == {"app"}


def test_a_directive_that_says_what_is_so_anyway_changes_no_key(tree: Tree) -> None:
    tree.image("app", APP)
    before = keys(tree)
    tree.image("app", f"# escape=\\\n{APP}")
    assert keys(tree) == before


def test_a_stage_that_nobody_needs_changes_no_key(tree: Tree) -> None:
    tree.image("app", APP)
    before = keys(tree)
    tree.image("app", f"FROM scratch AS unused\nCMD a\n{APP}")
    assert keys(tree) == before


def test_a_stage_that_is_named_by_its_number_is_one_of_all(tree: Tree) -> None:
    stages = "FROM base AS x\nCMD x\nFROM base AS y\nCMD y\nFROM y\nCOPY --from=1 /a /a\n"
    tree.image("app", f"{stages}COPY --from=x /a /a\n")
    before = keys(tree)
    tree.image("app", f"FROM scratch AS unused\nCMD a\n{stages}COPY --from=x /a /a\n")
    assert changed(before, keys(tree)) == {"app"}


def test_only_a_build_arg_that_is_used_counts(tree: Tree) -> None:
    before = keys(tree)
    assert changed(before, keys(tree, "groups.images.args.UNUSED=1")) == set()
    assert changed(before, keys(tree, "groups.images.args.FLAVOUR=rich")) == {"base", "app"}


def test_a_moved_base_changes_all_that_stands_on_it(tree: Tree) -> None:
    before = keys(tree)
    assert changed(before, keys(tree, digest="sha256:2")) == {"base", "app", "other"}


def test_platform_and_engine_class_are_part_of_the_key(tree: Tree) -> None:
    before = keys(tree)
    assert changed(before, keys(tree, platform="linux/arm64")) == set(before)
    assert changed(before, keys(tree, engine_class="classic")) == set(before)


def test_version_commit_and_tag_are_no_part_of_the_key(tree: Tree) -> None:
    before = keys(tree)
    sets = ('groups.images.version="2.0"', 'groups.images.commit="1234567"')
    assert changed(before, keys(tree, *sets)) == set()


def test_an_unknown_base_leaves_the_keys_above_it_unknown(tree: Tree) -> None:
    assert identify(sources_of(read(tree)), {}) == {}


def test_a_proxy_changes_the_keys_of_those_that_declare_it_and_of_no_other(tree: Tree) -> None:
    tree.write("images/other/Dockerfile", "FROM debian:12 AS no\nARG HTTP_PROXY\nFROM debian:12\n")
    tree.write("images/base/Dockerfile", "FROM debian:12\nARG HTTP_PROXY\nENV P=$HTTP_PROXY\n")
    base = {"debian:12": DEBIAN}

    def given(**args: str) -> dict[str, str]:
        whole = for_engine(read(tree), args)
        found = identify(sources_of(whole), base)
        return {name: identity.key for name, identity in found.items()}

    before = given()
    assert given(HTTPS_PROXY="http://one", no_proxy="x") == before
    assert changed(before, given(HTTP_PROXY="http://one")) == {"base", "app"}
    assert given(HTTP_PROXY="http://one") != given(HTTP_PROXY="http://two")
    own = for_engine(read(tree, "images.base.args.HTTP_PROXY=mine"), {"HTTP_PROXY": "x"})
    assert own.graph["base"].needs.env["P"] == "mine"


def test_stages_are_those_of_the_platform_that_the_engine_makes(tree: Tree) -> None:
    tree.write("images/other/Dockerfile", "FROM scratch\nARG TARGETARCH\nCOPY bin-$TARGETARCH /\n")
    tree.write(
        "images/app/Dockerfile", "FROM debian:12 AS arm64\nFROM base AS amd64\nFROM $TARGETARCH\n"
    )
    for name in ("bin-amd64", "bin-arm64"):
        tree.write(f"images/other/{name}", name)
    made = for_engine(read(tree), {}, "linux/arm64").graph
    assert [read.sources for read in made["other"].needs.reads] == [("bin-arm64",)]
    assert made["app"].parents == ()

    def on(platform: str) -> str:
        whole = for_engine(read(tree), {}, platform)
        found = identify(sources_of(whole, platform), {"debian:12": DEBIAN})
        return found["other"].key

    before = {platform: on(platform) for platform in ("linux/amd64", "linux/arm64")}
    tree.write("images/other/bin-arm64", "edited")
    assert on("linux/amd64") == before["linux/amd64"]
    assert on("linux/arm64") != before["linux/arm64"]


OCI = "org.opencontainers.image."


@pytest.mark.parametrize(
    ("name", "said", "own", "given"),
    [
        ("title", "app", False, "app"),
        ("title", "app", True, None),
        ("version", "1.0", True, None),
        ("version", "", True, None),
        ("version", "", False, ""),
        ("source", "", True, None),
        ("source", "https://tree", True, None),
        ("revision", "c0ffee", True, "c0ffee"),
        ("revision", "", True, None),
        ("base.name", "debian:12", True, "debian:12"),
    ],
)
def test_a_label_of_the_dockerfile_stays_but_for_what_the_run_knows(
    name: str, said: str, *, own: bool, given: str | None
) -> None:
    said_of: dict[str, Any] = {"title": "app", name.replace(".", "_"): said}
    labels = oci_labels(key="k", own=[f"{OCI}{name}"] if own else [], **said_of)
    assert labels.get(f"{OCI}{name}") == given
    assert labels["ocbuild.key"] == "k"
