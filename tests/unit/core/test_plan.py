"""The plan: what is built, what is reused, and the reasons, without an engine."""

from __future__ import annotations

from pathlib import Path

import pytest

from builder.config.load import load
from builder.core.graph import ImageGraph
from builder.core.intree import Names
from builder.core.plan import Action, Known, Plan, make_plan
from builder.core.remarks import remarks_on
from builder.core.select import select
from builder.tree.discover import discover
from tests.support.tree import Tree


@pytest.fixture
def graph(tmp_path: Path) -> ImageGraph:
    tree = Tree(
        tmp_path,
        {
            "root": "FROM debian:12",
            "base": "FROM root",
            "app": "FROM base",
            "app-api": "FROM app",
            "other": "FROM root",
        },
    )
    return ImageGraph.of(discover(load(tree.root / "build.toml", [])), Names(namespace="acme"))


def plan_for(
    graph: ImageGraph, *targets: str, existing: tuple[str, ...] = (), no_reuse: bool = False
) -> Plan:
    known = {
        name: Known(
            key=f"key of {name}",
            refs=(f"acme/{name}:1",),
            existing="the engine" if name in existing and not no_reuse else "",
        )
        for name in graph.order
    }
    selection = select(graph, targets, groups=())
    return make_plan(graph, selection, known, commit="c" * 40, dirty=False, no_reuse=no_reuse)


def assembled_plan(
    graph: ImageGraph,
    *targets: str,
    existing: tuple[str, ...] = (),
    run: tuple[str, ...] = ("base", "other"),
    push: bool = False,
) -> Plan:
    """A plan in which base and other have a RUN, and the rest do not."""
    known = {
        name: Known(
            key=name, refs=(f"acme/{name}:1",), existing="the engine" if name in existing else ""
        )
        for name in graph.order
    }
    obstacles = {name: "line 2 is a RUN" if name in run else "" for name in known}
    selection = select(graph, targets, groups=())
    return make_plan(
        graph, selection, known, commit="", dirty=False, assembler=obstacles, push=push
    )


def actions(plan: Plan) -> dict[str, str]:
    return {step.image: step.action.value for step in plan.steps}


def test_every_selected_image_is_built_in_order(graph: ImageGraph) -> None:
    plan = plan_for(graph, "all", existing=("base",))
    assert tuple(step.image for step in plan.steps) == graph.order
    assert {step.action for step in plan.steps} == {Action.BUILD}
    assert plan.steps[0].reasons == ('selected by "all"',)


def test_an_ancestor_that_exists_is_reused_and_needs_nothing_above_it(graph: ImageGraph) -> None:
    plan = plan_for(graph, "app+", existing=("base", "root"))
    assert actions(plan) == {"base": "reuse", "app": "build", "app-api": "build"}
    base = plan.steps[0]
    assert base.reasons == ("needed by app", "the engine has its key")
    assert not base.selected


def test_an_ancestor_that_exists_nowhere_is_built_with_all_it_needs(graph: ImageGraph) -> None:
    plan = plan_for(graph, "app", existing=())
    assert actions(plan) == {"root": "build", "base": "build", "app": "build"}
    assert plan.steps[1].reasons[1] == "neither the engine nor the registry has its key"


def test_no_reuse_makes_ancestors_anew(graph: ImageGraph) -> None:
    plan = plan_for(graph, "app", existing=("base",), no_reuse=True)
    assert actions(plan)["base"] == "build"
    assert "--no-reuse" in plan.steps[1].reasons[1]


def test_a_step_waits_only_for_parents_that_are_in_the_plan(graph: ImageGraph) -> None:
    plan = plan_for(graph, "app+", existing=("base",))
    parents = {step.image: step.parents for step in plan.steps}
    assert parents == {"base": (), "app": ("base",), "app-api": ("app",)}


def test_json_has_the_keys_that_scripts_rely_on(graph: ImageGraph) -> None:
    document = plan_for(graph, "other", existing=("root",)).as_json()
    assert document == {
        "commit": "c" * 40,
        "dirty": False,
        "steps": [
            {
                "image": "root",
                "action": "reuse",
                "reasons": ["needed by other", "the engine has its key"],
                "key": "key of root",
                "refs": ["acme/root:1"],
                "blocked_by": None,
            },
            {
                "image": "other",
                "action": "build",
                "reasons": ['selected by "other"'],
                "key": "key of other",
                "refs": ["acme/other:1"],
                "blocked_by": None,
            },
        ],
    }


def test_a_remark_is_made_on_the_images_of_the_plan_that_have_its_label(tmp_path: Path) -> None:
    tree = Tree(
        tmp_path,
        {
            "plain": "FROM scratch\nLABEL other=1\n",
            "trial": "FROM scratch\nARG STATE=trial\nLABEL state=$STATE\n",
            "trial-api": "FROM trial\nLABEL other=2\n",
        },
    )
    graph = ImageGraph.of(discover(load(tree.root / "build.toml", [])), Names(namespace="acme"))
    remarks = {"state=trial": "not for production", "other": "odd", "state=final": "never said"}
    assert remarks_on(graph, graph.order, remarks) == (
        "2 images with state=trial: not for production",
        "2 images with other: odd",
    )
    assert remarks_on(graph, ["plain"], remarks) == ("1 image with other: odd",)


def test_an_image_without_run_is_assembled_on_a_base_that_exists(graph: ImageGraph) -> None:
    plan = assembled_plan(graph, "app+", existing=("base",))
    assert actions(plan) == {"base": "reuse", "app": "assemble", "app-api": "assemble"}


def test_what_an_engine_builds_cannot_be_assembled_on_in_the_same_run(graph: ImageGraph) -> None:
    plan = assembled_plan(graph, "base+", existing=("root",))
    assert actions(plan) == {"root": "reuse", "base": "build", "app": "build", "app-api": "build"}
    reasons = {step.image: step.reasons[-1] for step in plan.steps}
    assert reasons["base"] == "needs an engine: line 2 is a RUN"
    assert reasons["app"] == "needs an engine: an engine builds base in this run"


def test_with_push_an_image_is_assembled_once_its_parent_is_in_the_registry(
    graph: ImageGraph,
) -> None:
    plan = assembled_plan(graph, "all", push=True)
    assert actions(plan) == {
        "root": "assemble",
        "base": "build",
        "app": "assemble",
        "app-api": "assemble",
        "other": "build",
    }
    pushed = {step.image: step.pushed for step in plan.steps}
    assert pushed == {"root": (), "base": (), "app": ("base",), "app-api": (), "other": ()}


def test_a_build_never_waits_for_the_push_of_what_is_above_it(graph: ImageGraph) -> None:
    """The image between two builds is built, too; what else stands on the first is assembled."""
    plan = assembled_plan(graph, "all", run=("root", "app-api"), push=True)
    assert actions(plan) == {
        "root": "build",
        "base": "build",
        "app": "build",
        "app-api": "build",
        "other": "assemble",
    }
    reasons = {step.image: step.reasons[-1] for step in plan.steps}
    because = "needs an engine: an engine builds {} in this run, and app-api on this image"
    assert reasons["base"] == because.format("root")
    assert reasons["app"] == because.format("base")
    assert not any(step.pushed for step in plan.steps if step.action is Action.BUILD)


def test_what_is_there_keeps_no_image_from_being_assembled(graph: ImageGraph) -> None:
    plan = assembled_plan(graph, "app", existing=("base",), run=("base", "app-api"), push=True)
    assert actions(plan) == {"base": "reuse", "app": "assemble"}
    assert plan.steps[-1].pushed == ()


def test_another_engine_makes_all_of_them_with_push_too(graph: ImageGraph) -> None:
    known = {name: Known(key=name, refs=(f"acme/{name}:1",)) for name in graph.order}
    selection = select(graph, ("all",), groups=())
    plan = make_plan(graph, selection, known, commit="", dirty=False, push=True)
    assert {step.action for step in plan.steps} == {Action.BUILD}
    assert not any(step.pushed for step in plan.steps)
