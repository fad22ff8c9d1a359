"""The graph follows from the Dockerfiles alone; what cannot be a graph is said with its place."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from builder.config.load import load
from builder.core.errors import CycleError, InputErrors, TreeError
from builder.core.graph import ImageGraph
from builder.core.image import InTreeNames
from builder.tree.discover import discover
from tests.support.tree import Tree

NAMES = InTreeNames(namespace="acme", registry="127.0.0.1:5999", aliases=frozenset({"old"}))


def graph_of(root: Path, images: Mapping[str, str | Mapping[str, str]]) -> ImageGraph:
    tree = Tree(root, images)
    return ImageGraph.of(discover(load(tree.root / "build.toml", [])), NAMES)


def test_order_is_parents_first_then_by_name(tmp_path: Path) -> None:
    graph = graph_of(
        tmp_path, {"z": "FROM scratch", "a": "FROM z", "b": "FROM acme/z", "c": "FROM old/b:1"}
    )
    assert graph.order == ("z", "a", "b", "c")
    assert [graph[name].level for name in graph.order] == [0, 1, 1, 2]
    assert graph["c"].parents == ("b",)
    assert str(graph["c"].repository) == "127.0.0.1:5999/acme/c"


def test_every_needed_stage_gives_edges_and_no_other(tmp_path: Path) -> None:
    graph = graph_of(
        tmp_path,
        {
            "base": "FROM debian:12",
            "tools": "FROM debian:12",
            "files": "FROM scratch",
            "unused": "FROM scratch",
            "app": """\
                FROM unused AS never
                FROM tools AS build
                RUN --mount=type=bind,from=acme/files,target=/f make
                FROM base
                COPY --from=build /out /out
                COPY --from=busybox:1 /bin/sh /bin/sh
                """,
        },
    )
    assert graph["app"].parents == ("base", "files", "tools")
    assert graph["app"].external == ("busybox:1",)
    assert graph.external == ("busybox:1", "debian:12")
    assert graph["app"].base == "base"


def test_a_base_is_found_through_stages_of_the_same_file(tmp_path: Path) -> None:
    graph = graph_of(
        tmp_path, {"base": "FROM scratch", "app": "FROM base AS one\nFROM one AS two\nFROM two\n"}
    )
    assert graph["app"].base == "base"


def test_args_in_from_are_expanded(tmp_path: Path) -> None:
    graph = graph_of(
        tmp_path, {"base": "FROM scratch", "app": "ARG PARENT=base\nFROM acme/${PARENT}:1"}
    )
    assert graph["app"].parents == ("base",)


def test_labels_and_env_come_from_in_tree_parents(tmp_path: Path) -> None:
    graph = graph_of(
        tmp_path,
        {
            "base": "FROM debian:12\nENV V=3\nLABEL kind=base keep=yes",
            "app": "FROM base\nLABEL kind=app version=$V",
        },
    )
    assert graph["app"].needs.labels == {"kind": "app", "keep": "yes", "version": "3"}


def test_onbuild_of_a_parent_gives_the_child_its_edges(tmp_path: Path) -> None:
    graph = graph_of(
        tmp_path,
        {
            "files": "FROM scratch",
            "base": "FROM scratch\nONBUILD COPY --from=files / /",
            "app": "FROM base",
        },
    )
    assert graph["base"].parents == ()
    assert graph["app"].parents == ("base", "files")


def test_reach_goes_both_ways(tmp_path: Path) -> None:
    graph = graph_of(
        tmp_path,
        {"a": "FROM scratch", "b": "FROM a", "c": "FROM b", "d": "FROM a", "e": "FROM scratch"},
    )
    assert graph.ancestors(["c"]) == {"a", "b"}
    assert graph.descendants(["a"]) == {"b", "c", "d"}
    assert graph.children("a") == ("b", "d")
    assert graph.in_order({"c", "e", "a"}) == ("a", "c", "e")


def test_a_cycle_is_an_error_that_prints_its_path(tmp_path: Path) -> None:
    with pytest.raises(CycleError) as caught:
        graph_of(tmp_path, {"a": "FROM c", "b": "FROM a", "c": "FROM b", "d": "FROM c"})
    assert "a -> c -> b -> a" in str(caught.value)
    assert caught.value.where is not None
    assert caught.value.where.path == "images/a/Dockerfile"


def test_a_cycle_through_copy_from_is_found_too(tmp_path: Path) -> None:
    with pytest.raises(CycleError) as caught:
        graph_of(tmp_path, {"a": "FROM scratch\nCOPY --from=b / /", "b": "FROM a"})
    assert "a -> b -> a" in str(caught.value)


def test_an_image_that_is_built_on_itself_is_a_cycle(tmp_path: Path) -> None:
    with pytest.raises(CycleError, match="a -> a"):
        graph_of(tmp_path, {"a": "FROM acme/a:1"})


def test_a_stage_that_is_never_built_makes_no_cycle(tmp_path: Path) -> None:
    graph = graph_of(tmp_path, {"a": "FROM b AS unused\nFROM scratch", "b": "FROM a"})
    assert graph.order == ("a", "b")


def test_all_mistakes_are_shown_together(tmp_path: Path) -> None:
    with pytest.raises(InputErrors) as caught:
        graph_of(tmp_path, {"a": "FROM acme/nowhere", "b": "FROM c", "c": "FROM b"})
    text = str(caught.value)
    assert 'images/a/Dockerfile:1: "acme/nowhere" is in our own namespace' in text
    assert "b -> c -> b" in text


def test_two_directories_for_one_image_are_an_error_naming_both(tmp_path: Path) -> None:
    with pytest.raises(TreeError) as caught:
        graph_of(tmp_path, {"images/1/app": "FROM scratch", "images/2/app": "FROM scratch"})
    assert '"images/2/app" and "images/1/app" both make the image "app"' in str(caught.value)
