"""The image trees of this repository keep the rules of docs/images.md; read, not built."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from builder.core.image import Image
from builder.core.options import TreeOptions
from builder.tree.read import Tree, read_tree

ROOT = Path(__file__).parents[2]
# What others are built from and no container runs.
BASES = {"base", "contrail-packages", "contrailbase", "javabase", "mavenbase", "openstackbase"}
# Files alone: there is no shell that could run a test.
NO_SHELL = {"contrail-packages"}
# A client, which ends with its command.
TOOLS = {"openstack-client"}


@pytest.fixture(scope="module")
def tree() -> Tree:
    return read_tree(TreeOptions(config=ROOT / "build.toml"))


def words(image: Image, keyword: str) -> list[str]:
    instructions = image.source.parsed.stages[image.needs.target].instructions
    return [word for each in instructions if each.keyword == keyword for word in each.arguments]


def test_every_system_of_the_guide_is_there(tree: Tree) -> None:
    assert len(tree.graph.order) >= 55
    assert {image.group for image in tree.graph.images.values()} == set(tree.config.groups)


def test_every_image_is_tested_before_it_may_be_published(tree: Tree) -> None:
    untested = {name for name in tree.graph.order if not tree.config.image(name).test}
    assert untested <= NO_SHELL


def test_every_image_says_by_labels_what_it_is_and_where_it_runs(tree: Tree) -> None:
    for image in tree.graph.images.values():
        labels = image.needs.labels
        # Its own word, not one that it inherits.
        assert any(f"net.juniper.{image.group}=" in word for word in words(image, "LABEL")), image
        assert labels[f"net.juniper.{image.group}"], image.name
        if image.name not in BASES:
            assert labels["net.juniper.node"] in ("controller", "compute"), image.name


def test_a_process_has_a_check_of_its_health_and_no_image_of_a_process_lacks_one(
    tree: Tree,
) -> None:
    for image in tree.graph.images.values():
        if words(image, "CMD") and image.name not in TOOLS:
            assert words(image, "HEALTHCHECK"), f"{image.name} has a CMD and no HEALTHCHECK"


def test_what_is_installed_leaves_no_trace_of_apt(tree: Tree) -> None:
    """Only install-packages and install-contrail call apt, and they clean up."""
    for image in tree.graph.images.values():
        if image.name == "base":
            continue
        for each in image.source.parsed.stages[image.needs.target].instructions:
            text = " ".join([*each.arguments, *(heredoc.content for heredoc in each.heredocs)])
            assert not (each.keyword == "RUN" and "apt-get" in text), image.name


def test_the_tables_of_the_documentation_say_what_the_dockerfiles_do() -> None:
    done = subprocess.run(
        [sys.executable, "scripts/images_table.py", "--check"],
        cwd=ROOT,
        env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
