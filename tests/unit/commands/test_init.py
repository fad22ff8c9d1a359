"""What ``ocbuild init`` proposes for trees of several shapes; every proposal loads as it is."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import pytest

from builder.commands.init import propose
from builder.config.load import load
from builder.core.errors import ConfigError
from builder.core.settings.config import Config
from builder.tree.discover import discover
from tests.support import seed


def write(root: Path, dockerfiles: Mapping[str, str]) -> Path:
    for folder, text in dockerfiles.items():
        (root / folder).mkdir(parents=True)
        (root / folder / "Dockerfile").write_text(text)
    return root


def proposed(root: Path) -> Config:
    text = propose(root)
    (root / "build.toml").write_text(text, encoding="utf-8")
    return load(root / "build.toml")


def paths(config: Config) -> dict[str, str]:
    return {name: str(group.path.relative_to(config.root)) for name, group in config.groups.items()}


def test_the_tree_of_2016_gets_what_was_once_written_by_hand(tmp_path: Path) -> None:
    root = seed.write_seed(tmp_path)
    by_hand = load(root / "build.toml")
    (root / "build.toml").unlink()
    config = proposed(root)
    assert config.project.namespace == by_hand.project.namespace == "michaelhenkel"
    assert paths(config) == paths(by_hand)
    assert config.groups["opencontrail"] == by_hand.groups["opencontrail"]
    assert config.groups["openstack"] == by_hand.groups["openstack"]
    assert config.groups["common"].version == "1.0"
    assert len(discover(config)) == seed.IMAGES


def test_an_image_above_its_group_is_left_out_with_the_reason(tmp_path: Path) -> None:
    text = propose(seed.write_seed(tmp_path))
    assert (
        "# Left out, with 1 image: its folder overlaps with that of group opencontrail.\n"
        "# [groups.opencontrail]\n"
        '# path = "container/opencontrail/3.0.1"\n'
    ) in text


def test_top_folders_are_groups_where_no_folder_is_a_version(tmp_path: Path) -> None:
    tree = {
        "common/base": "FROM debian:12",
        "openstack/nova/api": "FROM acme/base",
        "openstack/nova/compute": "FROM acme/base",
        "contrail/analytics/collector": "FROM acme/base",
    }
    config = proposed(write(tmp_path, tree))
    assert paths(config) == {"common": "common", "contrail": "contrail", "openstack": "openstack"}
    assert config.project.namespace == "acme"
    assert [group.tag for group in config.groups.values()] == ["{commit}"] * 3
    assert len(discover(config)) == 4


def test_image_folders_at_the_top_are_one_group(tmp_path: Path) -> None:
    tree = {"base": "FROM debian:12", "app": "FROM acme/base", "more/tool": "FROM acme/base"}
    config = proposed(write(tmp_path, tree))
    assert paths(config) == {"images": "."}
    assert len(discover(config)) == 3


def test_of_several_versions_the_newest_is_taken(tmp_path: Path) -> None:
    tree = {
        f"contrail/{version}/{name}": "FROM debian:12"
        for version in ("3.9", "3.10/09e5d48", "3.2")
        for name in ("config", "control")
    }
    root = write(tmp_path, tree)
    config = proposed(root)
    assert paths(config) == {"contrail": "contrail/3.10/09e5d48"}
    assert (config.groups["contrail"].version, config.groups["contrail"].commit) == (
        "3.10",
        "09e5d48",
    )
    reason = (
        "# Left out, with 2 images: group contrail has images of the same names, such as config"
    )
    assert propose(root).count(reason) == 2


def test_a_version_may_lie_above_families_of_images(tmp_path: Path) -> None:
    tree = {"openstack/2025.1/nova/api": "FROM debian:12", "openstack/2025.1/base": "FROM debian"}
    config = proposed(write(tmp_path, tree))
    assert paths(config) == {"openstack": "openstack/2025.1"}
    assert config.groups["openstack"].version == "2025.1"


def test_a_folder_is_a_version_if_from_lines_use_it_as_tag(tmp_path: Path) -> None:
    tree = {
        "openstack/kilo/nova": "FROM debian:12",
        "openstack/kilo/nova-api": "FROM acme/nova:kilo",
    }
    group = proposed(write(tmp_path, tree)).groups["openstack"]
    assert (group.version, group.tag) == ("kilo", "{version}")


def test_a_version_is_taken_from_the_tags_of_from_lines(tmp_path: Path) -> None:
    tree = {
        "web/base": "FROM debian:12",
        "web/app": "FROM acme/base:2.1-e24cc66",
        "db/base-db": "FROM debian:12",
        "db/sql": "FROM acme/base-db:7",
    }
    groups = proposed(write(tmp_path, tree)).groups
    assert (groups["web"].version, groups["web"].tag) == ("2.1", "{version}-{commit}")
    assert (groups["db"].version, groups["db"].tag) == ("7", "{version}")


def test_latest_is_no_version(tmp_path: Path) -> None:
    tree = {"web/base": "FROM debian:12", "web/app": "FROM acme/base:latest"}
    assert proposed(write(tmp_path, tree)).groups["web"].version is None


def test_folders_of_one_name_get_names_from_their_path(tmp_path: Path) -> None:
    tree = {"web/nova/api": "FROM debian:12", "web/glance/api": "FROM debian:12"}
    config = proposed(write(tmp_path, tree))
    assert config.groups["web"].naming == "{path}"
    assert {image.name for image in discover(config)} == {"nova-api", "glance-api"}


def test_groups_that_share_a_few_names_are_told_apart_by_a_prefix(tmp_path: Path) -> None:
    tree = {f"{group}/base": "FROM debian:12" for group in ("contrail", "openstack")}
    tree |= {f"openstack/{name}": "FROM debian:12" for name in ("nova", "glance")}
    config = proposed(write(tmp_path, tree))
    assert config.groups["openstack"].naming == "openstack-{dir}"
    assert {image.name for image in discover(config)} == {
        "base",
        "openstack-base",
        "openstack-nova",
        "openstack-glance",
    }


@pytest.mark.parametrize(
    ("folders", "groups"),
    [
        (("a/web/1.0/x", "b/web/1.0/y"), {"web": "a/web/1.0", "b-web-1.0": "b/web/1.0"}),
        (("web/x", "b/web/1.0/y"), {"web": "b/web/1.0", "web-2": "web"}),
    ],
)
def test_groups_of_one_name_are_named_by_their_path_or_number(
    tmp_path: Path, folders: tuple[str, ...], groups: dict[str, str]
) -> None:
    config = proposed(write(tmp_path, dict.fromkeys(folders, "FROM debian:12")))
    assert paths(config) == groups


def test_the_namespace_is_the_one_most_used_for_folders_of_the_tree(tmp_path: Path) -> None:
    tree = {
        "web/base": "FROM library/base",
        "web/a": "FROM acme/base:1",
        "web/b": "FROM acme/base:1",
        "web/c": "FROM muccg/base:1",
        "web/d": "FROM bitnami/kafka:1",
    }
    root = write(tmp_path, tree)
    config = proposed(root)
    assert config.project.namespace == "acme"
    assert config.project.aliases == ()
    assert '# aliases = ["muccg"]' in propose(root)
    assert "bitnami" not in propose(root)


def test_a_namespace_that_is_used_with_a_registry_is_an_alias_as_well(tmp_path: Path) -> None:
    tree = {"web/base": "FROM debian:12", "web/app": "FROM registry.example.com/acme/base:1"}
    project = proposed(write(tmp_path, tree)).project
    assert (project.namespace, project.aliases) == ("acme", ("acme",))


@pytest.mark.parametrize(
    ("folder", "namespace"),
    [("My Project", "my-project"), ("localhost", "images"), ("___", "images")],
)
def test_without_such_from_lines_the_namespace_is_the_folder(
    tmp_path: Path, folder: str, namespace: str
) -> None:
    root = write(tmp_path / folder, {"web/base": "FROM debian:12"})
    assert proposed(root).project.namespace == namespace


def test_a_dockerfile_that_cannot_be_read_is_still_an_image(tmp_path: Path) -> None:
    tree = {"web/broken": "COPY before from", "web/arg": "ARG X\nFROM $X", "web/stage": "FROM Bad"}
    assert "# 3 images" in propose(write(tmp_path, tree))


def test_hidden_folders_and_links_are_passed_by(tmp_path: Path) -> None:
    root = write(tmp_path, {"web/base": "FROM debian:12", ".cache/old": "FROM debian:12"})
    (root / "link").symlink_to(root / "web")
    assert paths(proposed(root)) == {"web": "web"}


@pytest.mark.parametrize("folder", ['we"b', "we\nb", "grün", "all", "-x", "a b", "we\\b", "#", "."])
def test_odd_folder_names_are_written_so_that_they_load(tmp_path: Path, folder: str) -> None:
    config = proposed(write(tmp_path, {f"{folder}/base": "FROM debian:12"}))
    assert [group.path for group in config.groups.values()] == [(config.root / folder).absolute()]


def test_folders_whose_names_are_no_text_are_passed_by(tmp_path: Path) -> None:
    folder = os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9/base")
    root = write(tmp_path, {"web/base": "FROM debian:12", folder: "FROM debian:12"})
    assert paths(proposed(root)) == {"web": "web"}


def test_a_folder_without_any_dockerfile_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="there is no Dockerfile") as caught:
        propose(tmp_path)
    assert caught.value.hint
