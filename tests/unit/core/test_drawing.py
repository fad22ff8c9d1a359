"""The graph as text: tree, JSON, DOT, Mermaid."""

from __future__ import annotations

from pathlib import Path

import pytest

from builder.config.load import load
from builder.core.drawing import as_dot, as_json, as_mermaid, as_tree
from builder.core.graph import ImageGraph
from builder.core.image import InTreeNames
from builder.tree.discover import discover
from tests.support.tree import Tree


@pytest.fixture
def graph(tmp_path: Path) -> ImageGraph:
    tree = Tree(
        tmp_path,
        {
            "base": "FROM debian:12",
            "app": "FROM base\nLABEL a=b",
            "api": 'FROM app\nCOPY --from=tools /x /x\nCOPY --from=busybox:1 "/a" /a',
            "tools": "FROM scratch",
            "web": "FROM base",
        },
    )
    return ImageGraph.of(
        discover(load(tree.root / "build.toml", [])),
        InTreeNames(namespace="acme", registry="r.io:5000"),
    )


def test_tree(graph: ImageGraph) -> None:
    assert as_tree(graph, graph.order) == (
        "(debian:12)\n"
        "└── base\n"
        "    ├── app\n"
        "    │   └── api  (also from tools, busybox:1)\n"
        "    └── web\n"
        "(scratch)\n"
        "└── tools\n"
    )


def test_tree_of_a_part_begins_with_what_it_stands_on(graph: ImageGraph) -> None:
    assert as_tree(graph, ["app", "api"]) == (
        "base\n└── app\n    └── api  (also from tools, busybox:1)\n"
    )


def test_tree_of_nothing_is_nothing(graph: ImageGraph) -> None:
    assert as_tree(graph, []) == ""


def test_json_has_the_keys_that_scripts_rely_on(graph: ImageGraph) -> None:
    document = as_json(graph, ["app", "api"], dict.fromkeys(graph.order, "1.0-abcdef0"))
    assert document == {
        "images": {
            "app": {
                "dir": "images/app",
                "group": "images",
                "ref": "r.io:5000/acme/app",
                "tag": "1.0-abcdef0",
                "parents": ["base"],
                "external": [],
                "level": 1,
                "labels": {"a": "b"},
            },
            "api": {
                "dir": "images/api",
                "group": "images",
                "ref": "r.io:5000/acme/api",
                "tag": "1.0-abcdef0",
                "parents": ["app", "tools"],
                "external": ["busybox:1"],
                "level": 2,
                "labels": {"a": "b"},
            },
        },
        "order": ["app", "api"],
        "external": ["busybox:1"],
    }


def test_dot_has_a_cluster_per_group_and_an_edge_per_base(graph: ImageGraph) -> None:
    dot = as_dot(graph, graph.order)
    assert 'label="images";' in dot
    assert '"debian:12" [style=dashed];' in dot
    assert '"app" -> "api";' in dot
    assert dot.count("->") == 6


def test_mermaid_has_a_node_per_name_and_an_edge_per_base(graph: ImageGraph) -> None:
    mermaid = as_mermaid(graph, graph.order)
    assert mermaid.startswith("graph LR\n")
    assert mermaid.count("-->") == 6
    assert '["busybox:1"]' in mermaid


def test_an_arrow_that_others_imply_is_dotted(tmp_path: Path) -> None:
    tree = Tree(
        tmp_path,
        {
            "base": "FROM debian:12",
            "app": "FROM base",
            "api": "FROM app\nCOPY --from=base /x /x\nCOPY --from=debian:12 /y /y",
        },
    )
    graph = ImageGraph.of(
        discover(load(tree.root / "build.toml", [])),
        InTreeNames(namespace="acme", registry="r.io:5000"),
    )
    dot = as_dot(graph, graph.order)
    assert [line for line in dot.splitlines() if "dotted" in line] == [
        '  "base" -> "api" [style=dotted, constraint=false];',
        '  "debian:12" -> "api" [style=dotted, constraint=false];',
    ]
    assert dot.count("->") == 5
    mermaid = as_mermaid(graph, graph.order)
    assert (mermaid.count("-.->"), mermaid.count("-->")) == (2, 3)
