"""Targets: what each form selects, and what a typo is answered with."""

from __future__ import annotations

from pathlib import Path

import pytest

from builder.config.load import load
from builder.core.errors import UsageError
from builder.core.graph import ImageGraph
from builder.core.image import InTreeNames
from builder.core.select import needs_changes, select
from builder.tree.discover import discover
from tests.support.tree import Tree

TOML = """\
[project]
namespace = "acme"
[groups.openstack]
version = "1"
tag = "{version}"
[groups.contrail]
version = "1"
tag = "{version}"
"""


@pytest.fixture
def graph(tmp_path: Path) -> ImageGraph:
    tree = Tree(
        tmp_path,
        {
            "openstack/openstackbase": "FROM debian:12",
            "openstack/nova": "FROM openstackbase\nLABEL group=nova node=controller",
            "openstack/nova-api": "FROM nova",
            "openstack/nova-compute": "FROM nova\nLABEL node=compute",
            "openstack/glance": "FROM openstackbase",
            "contrail/analytics": "FROM debian:12\nLABEL net.juniper.contrail=analytics",
            "contrail/analytics-api": "FROM analytics",
        },
        toml=TOML,
    )
    names = InTreeNames(namespace="acme")
    return ImageGraph.of(discover(load(tree.root / "build.toml", [])), names)


def chosen(graph: ImageGraph, *targets: str, exclude: tuple[str, ...] = ()) -> set[str]:
    selection = select(
        graph,
        targets,
        groups=("openstack", "contrail"),
        exclude=exclude,
        changed={"nova"},
    )
    return set(selection.images)


NOVA = {"nova", "nova-api", "nova-compute"}


@pytest.mark.parametrize(
    ("targets", "images"),
    [
        (["nova-api"], {"nova-api"}),
        (["contrail"], {"analytics", "analytics-api"}),
        (["nova-*"], {"nova-api", "nova-compute"}),
        (["nova+"], NOVA),
        (["+nova"], {"nova", "openstackbase"}),
        (["+nova+"], NOVA | {"openstackbase"}),
        (["label:group=nova"], NOVA),
        (["label:node=controller"], {"nova", "nova-api"}),
        (["label:net.juniper.contrail"], {"analytics", "analytics-api"}),
        (["@changed"], {"nova"}),
        (["@changed+"], NOVA),
        (["glance", "contrail"], {"glance", "analytics", "analytics-api"}),
        (["+nova-*"], NOVA | {"openstackbase"}),
    ],
)
def test_each_form_of_target(graph: ImageGraph, targets: list[str], images: set[str]) -> None:
    assert chosen(graph, *targets) == images


def test_all_is_everything_in_build_order(graph: ImageGraph) -> None:
    selection = select(graph, ["all"], groups=("openstack", "contrail"))
    assert selection.images == graph.order


def test_exclude_takes_out_whatever_a_target_can_name(graph: ImageGraph) -> None:
    assert chosen(graph, "openstack", exclude=("nova+",)) == {"openstackbase", "glance"}


def test_each_image_knows_which_targets_selected_it(graph: ImageGraph) -> None:
    selection = select(graph, ["nova+", "nova-api"], groups=())
    assert selection.because["nova-api"] == ("nova+", "nova-api")
    assert selection.because["nova"] == ("nova+",)


@pytest.mark.parametrize(
    ("target", "message", "hint"),
    [
        ("noav", 'there is no image or group "noav"', '"nova"'),
        ("noav+", 'there is no image or group "noav"', '"nova"'),
        ("contrial", 'there is no image or group "contrial"', '"contrail"'),
        ("@chnaged", "there is no image or group", '"@changed"'),
        ("novva-*", 'no image matches "novva-*"', '"nova"'),
        ("label:gruop", 'no image has the label "gruop"', '"group"'),
        ("label:group=noav", 'no image has the label "group" with the value "noav"', '"nova"'),
        ("qqqqqq", "there is no image or group", "ocbuild list"),
    ],
)
def test_a_target_that_means_nothing_is_answered_with_the_nearest(
    graph: ImageGraph, target: str, message: str, hint: str
) -> None:
    with pytest.raises(UsageError) as caught:
        chosen(graph, target)
    assert message in caught.value.message
    assert hint in (caught.value.hint or "")


def test_only_changed_targets_ask_git() -> None:
    assert needs_changes(["nova", "+@changed+"])
    assert not needs_changes(["nova+", "label:changed"])
