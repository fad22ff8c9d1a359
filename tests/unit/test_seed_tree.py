"""The old seed's tree is planned with nothing but a build.toml."""

from __future__ import annotations

from pathlib import Path

import pytest

from builder.core.errors import InputError
from builder.core.options import SelectOptions, TreeOptions
from builder.tree.read import Tree, check_tree, choose_images, read_tree
from tests.support import seed


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return seed.write_seed(tmp_path)


def read(root: Path) -> Tree:
    return read_tree(TreeOptions(config=root / "build.toml"))


def test_all_images_edges_and_levels_are_found(root: Path) -> None:
    tree = read(root)
    assert len(tree.graph) == seed.IMAGES
    assert sum(len(image.parents) for image in tree.graph.images.values()) == seed.EDGES
    levels = [image.level for image in tree.graph.images.values()]
    assert [levels.count(level) for level in (0, 1, 2)] == [14, 24, 10]
    assert tree.graph.external == (
        "alpine:3.1",
        "cassandra:2.1.13",
        "debian:wheezy",
        "java:openjdk-8-jre",
        "ubuntu:14.04",
        "ubuntu:14.04.3",
    )


def test_tags_are_the_old_ones_without_any_git(root: Path) -> None:
    tree = read(root)
    assert tree.revision is None
    assert tree.tags["analytics-api"] == "3.0.1-e24cc66"
    assert tree.tags["nova-api"] == "liberty"
    assert tree.tags["redis"] == "1.0"
    assert str(tree.graph["nova-api"].repository) == "127.0.0.1:5000/michaelhenkel/nova-api"


def test_a_prefix_is_no_parent(root: Path) -> None:
    graph = read(root).graph
    assert graph["nova-compute"].parents == ("openstackbase",)
    assert graph["nova-api"].parents == ("nova",)


def test_the_last_of_two_labels_counts(root: Path) -> None:
    labels = read(root).graph["nova-compute"].needs.labels
    assert labels["net.juniper.node"] == "compute"


def test_targets_work_on_it(root: Path) -> None:
    tree = read(root)
    chosen = choose_images(tree, SelectOptions(targets=("analytics+",)))
    assert len(chosen.images) == 7
    labelled = choose_images(tree, SelectOptions(targets=("label:net.juniper.openstack=nova",)))
    assert len(labelled.images) == 7


def test_check_finds_the_junk_and_no_mistake(root: Path) -> None:
    errors: list[InputError] = []
    options = TreeOptions(config=root / "build.toml")
    checked = check_tree(options, SelectOptions(targets=("all",)), errors)
    assert errors == []
    text = "\n".join(str(finding) for finding in checked.warnings)
    for junk in ('"\\"', '"]"', '"~"', '".entrypoint.sh.swp"', '"Dockerfile.bak"', '"index.html"'):
        assert junk in text
    assert "names the tag" not in text


def test_the_same_name_one_level_higher_is_an_error_until_it_is_excluded(root: Path) -> None:
    path = 'groups.opencontrail.path="container/opencontrail"'
    with pytest.raises(InputError) as caught:
        read_tree(TreeOptions(config=root / "build.toml", sets=(path,)))
    assert "both make the image" in str(caught.value)
    exclude = 'groups.opencontrail.exclude=["3.0.1/opencontrail-docker-libnetwork"]'
    tree = read_tree(TreeOptions(config=root / "build.toml", sets=(path, exclude)))
    assert len(tree.graph) == seed.IMAGES
