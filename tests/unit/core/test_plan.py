"""The plan: what is built, what is reused, and the reasons, without an engine."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from builder.config.load import load
from builder.core.assemble.obstacles import all_assembled, quick_to_make
from builder.core.checks import remarks_on
from builder.core.graph import ImageGraph
from builder.core.image import InTreeNames
from builder.core.plan import (
    Action,
    Assemble,
    AvailableImage,
    Block,
    Build,
    ImageFacts,
    Plan,
    Retag,
    Reuse,
    RunFacts,
    decide,
)
from builder.core.published import Published
from builder.core.reference import Reference
from builder.core.release import Inputs, ReleasedImage
from builder.core.run_json import plan_json
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
    return ImageGraph.of(
        discover(load(tree.root / "build.toml", [])), InTreeNames(namespace="acme")
    )


BASE, ANOTHER, OLD, ELSE, APP = (f"sha256:{digit * 64}" for digit in "01234")
ENGINE = AvailableImage(reference="here", place="the engine", image_id="sha256:here")


def facts_for(
    graph: ImageGraph,
    *targets: str,
    existing: tuple[str, ...] = (),
    run: tuple[str, ...] | None = None,
    push: bool = False,
    no_reuse: bool = False,
) -> RunFacts:
    """``run`` are the images with a RUN; without it another engine was asked for."""
    return RunFacts(
        graph=graph,
        selection=select(graph, targets, groups=()),
        images={
            name: ImageFacts(
                key=f"key of {name}",
                tag="1",
                available=ENGINE if name in existing and not no_reuse else None,
            )
            for name in graph.order
        },
        commit="c" * 40,
        no_reuse=no_reuse,
        push=push,
        obstacles=None
        if run is None
        else {name: "line 2 is a RUN" if name in run else "" for name in graph.order},
    )


def plan_for(
    graph: ImageGraph, *targets: str, existing: tuple[str, ...] = (), no_reuse: bool = False
) -> Plan:
    return decide(facts_for(graph, *targets, existing=existing, no_reuse=no_reuse))


def assembled_plan(
    graph: ImageGraph,
    *targets: str,
    existing: tuple[str, ...] = (),
    run: tuple[str, ...] = ("base", "other"),
    push: bool = False,
) -> Plan:
    """A plan in which base and other have a RUN, and the rest do not."""
    return decide(facts_for(graph, *targets, existing=existing, run=run, push=push))


def with_image(facts: RunFacts, name: str, **changes: Any) -> RunFacts:
    return replace(facts, images={**facts.images, name: replace(facts.images[name], **changes)})


def pushed(plan: Plan) -> dict[str, tuple[str, ...]]:
    return {step.image: step.pushed for step in plan.steps if isinstance(step, Assemble)}


def actions(plan: Plan) -> dict[str, str]:
    return {step.image: step.action.value for step in plan.steps}


def test_every_selected_image_is_built_in_order(graph: ImageGraph) -> None:
    plan = plan_for(graph, "all")
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
    document = plan_json(plan_for(graph, "other", existing=("root",)))
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
    graph = ImageGraph.of(
        discover(load(tree.root / "build.toml", [])), InTreeNames(namespace="acme")
    )
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
    assert pushed(plan) == {"root": (), "app": ("base",), "app-api": ()}


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
    assert pushed(plan) == {"other": ("root",)}


def test_what_is_there_keeps_no_image_from_being_assembled(graph: ImageGraph) -> None:
    plan = assembled_plan(graph, "app", existing=("base",), run=("base", "app-api"), push=True)
    assert actions(plan) == {"base": "reuse", "app": "assemble"}
    assert pushed(plan) == {"app": ()}


def test_what_is_there_says_nothing_of_engines_though_it_has_a_run(graph: ImageGraph) -> None:
    base, _ = assembled_plan(graph, "app", existing=("base",), run=("base",)).steps
    assert base.reasons == ("needed by app", "the engine has its key")


def test_a_build_that_is_published_already_waits_for_no_push(graph: ImageGraph) -> None:
    """Else the image between it and the build above would be built for its sake."""
    facts = facts_for(graph, "root", "base", "app", run=("root", "app"), push=True)
    made = {"root": "build", "base": "build", "app": "build"}
    assert actions(decide(facts)) == made
    published = Published(digest=APP, tagged=True)
    there = with_image(facts, "app", published=published)
    assert actions(decide(there)) == {**made, "base": "assemble", "app": "reuse"}


def test_another_engine_makes_all_of_them_with_push_too(graph: ImageGraph) -> None:
    plan = decide(facts_for(graph, "all", push=True))
    assert {step.action for step in plan.steps} == {Action.BUILD}


# -- what the registry has -------------------------------------------------------------------------

REGISTRY_HAS = Published(digest=APP, of="old")


def test_what_the_registry_has_under_its_tag_is_left_alone(graph: ImageGraph) -> None:
    facts = with_image(
        facts_for(graph, "app", push=True, run=()),
        "app",
        published=replace(REGISTRY_HAS, tagged=True),
    )
    (step,) = decide(facts).steps
    assert step == Reuse(
        image="app",
        reasons=("published already, with this content and this tag",),
        key="key of app",
        repository=Reference.parse("acme/app"),
        tag="1",
        reference=f"acme/app@{APP}",
        digest=APP,
    )


def test_what_the_registry_has_otherwise_only_gets_its_tag(graph: ImageGraph) -> None:
    facts = with_image(
        facts_for(graph, "app", push=True, run=()), "app", published=REGISTRY_HAS, optional=True
    )
    (step,) = decide(facts).steps
    assert step == Retag(
        image="app",
        reasons=("the registry has its key, of old",),
        key="key of app",
        repository=Reference.parse("acme/app"),
        tag="1",
        optional=True,
        reference=f"acme/app@{APP}",
        digest=APP,
    )


def test_an_ancestor_of_the_engine_gets_the_name_that_its_children_know(graph: ImageGraph) -> None:
    base, app = plan_for(graph, "app", existing=("base",)).steps
    assert isinstance(base, Reuse)
    assert (base.reference, base.image_id, base.digest) == ("here", "sha256:here", "")
    assert isinstance(app, Build)
    assert app.parents == ("base",)


def test_a_selected_image_that_is_in_the_engine_is_left_alone(graph: ImageGraph) -> None:
    (step,) = plan_for(graph, "app", existing=("app",)).steps
    assert isinstance(step, Reuse)
    assert (step.image_id, step.to_push, step.base) == ("sha256:here", False, "base")
    assert step.reasons == ("the engine has it, made of the same inputs",)


def test_what_only_the_engine_has_is_pushed_and_not_made(graph: ImageGraph) -> None:
    plan = decide(facts_for(graph, "app", existing=("app",), run=("app",), push=True))
    (step,) = plan.steps
    assert isinstance(step, Reuse)
    assert step.to_push
    assert not plan.publishes_nothing


def test_what_can_be_assembled_is_published_with_the_assemblers_bytes(graph: ImageGraph) -> None:
    facts = facts_for(graph, "app", existing=("app", "base"), run=("base",), push=True)
    assert actions(decide(facts)) == {"base": "reuse", "app": "assemble"}


def test_what_is_assembled_on_a_kept_image_waits_for_its_push(graph: ImageGraph) -> None:
    facts = facts_for(graph, "base", "app", existing=("base",), run=("base",), push=True)
    assert pushed(decide(facts)) == {"app": ("base",)}
    assert pushed(decide(replace(facts, push=False))) == {"app": ()}


def test_a_build_never_waits_for_the_push_of_a_kept_image(graph: ImageGraph) -> None:
    run = ("base", "app-api")
    facts = facts_for(graph, "base", "app", "app-api", existing=("base",), run=run, push=True)
    reasons = {step.image: step.reasons[-1] for step in decide(facts).steps}
    assert reasons["app"] == (
        "needs an engine: an engine pushes base in this run, and app-api on this image"
    )


def test_an_image_that_is_not_published_says_what_changed(graph: ImageGraph) -> None:
    facts = with_image(facts_for(graph, "base+", existing=("root",)), "app", changes=("moved",))
    reasons = {step.image: step.reasons for step in decide(facts).steps}
    assert reasons["app"] == ("moved",)
    assert reasons["app-api"] == ('selected by "base+"',)


def test_what_a_refresh_makes_says_why_and_nothing_else(graph: ImageGraph) -> None:
    facts = facts_for(graph, "app", existing=("base",), run=("app",))
    reasons = {step.image: step.reasons for step in decide(facts).steps}
    assert reasons["app"] == ('selected by "app"', "needs an engine: line 2 is a RUN")
    renewed = replace(facts, refresh={"app": ("curl 1 -> 2",)})
    reasons = {step.image: step.reasons for step in decide(renewed).steps}
    assert reasons == {
        "app": ("curl 1 -> 2",),
        "base": ("needed by app", "the engine has its key"),
    }


# -- where an assembled image is needed ------------------------------------------------------------


def released(name: str, base: str, digest: str) -> ReleasedImage:
    return ReleasedImage(
        name=name,
        path=f"acme/{name}",
        tag="1",
        digest=digest,
        key="k",
        group="images",
        inputs=Inputs(recipe="r"),
        base=base,
    )


def leaf(graph: ImageGraph) -> RunFacts:
    """An image of which the release has the base and an older one, on the same base."""
    facts = facts_for(graph, "app-api", run=(), push=True)
    facts = with_image(
        facts,
        "app",
        available=AvailableImage(reference=f"acme/app@{BASE}", place="the registry"),
    )
    return replace(
        facts,
        released={
            "app": released("app", "", BASE),
            "app-api": released("app-api", "app", OLD),
        },
    )


def assembled(facts: RunFacts, name: str = "app-api") -> tuple[bool, bool]:
    """Whether it goes to the engine, and whether it gets only its tags in the registry."""
    step = next(step for step in decide(facts).steps if step.image == name)
    assert isinstance(step, Assemble)
    return step.in_engine, step.bare


def test_a_leaf_on_the_base_of_the_release_needs_neither_engine_nor_key(graph: ImageGraph) -> None:
    assert assembled(leaf(graph)) == (False, True)


def test_without_push_the_engine_gets_all(graph: ImageGraph) -> None:
    assert assembled(replace(leaf(graph), push=False)) == (True, False)


def test_what_has_tests_runs_in_the_engine(graph: ImageGraph) -> None:
    assert assembled(with_image(leaf(graph), "app-api", tested=True)) == (True, False)


def test_what_others_of_the_plan_are_made_on_is_in_the_engine(graph: ImageGraph) -> None:
    facts = facts_for(graph, "app+", existing=("base",), run=(), push=True)
    assert assembled(facts, "app") == (True, False)
    assert assembled(facts, "app-api") == (False, False)


def test_what_others_of_the_tree_are_made_on_is_found_by_its_key(graph: ImageGraph) -> None:
    facts = with_image(
        facts_for(graph, "app", run=(), push=True),
        "base",
        available=AvailableImage(reference=f"acme/base@{BASE}", place="the registry"),
    )
    facts = replace(
        facts,
        released={
            "base": released("base", "", BASE),
            "app": released("app", "base", OLD),
        },
    )
    assert assembled(facts, "app") == (False, False)


@pytest.mark.parametrize(
    ("name", "image"),
    [
        ("app", None),
        ("app-api", None),
        ("app", released("app", "", ANOTHER)),
        ("app-api", released("app-api", "base", OLD)),
        ("app-api", replace(released("app-api", "app", OLD), path="acme/elsewhere")),
    ],
)
def test_where_its_repository_may_lack_layers_it_is_stored_whole(
    graph: ImageGraph, name: str, image: ReleasedImage | None
) -> None:
    facts = leaf(graph)
    others = {of: one for of, one in facts.released.items() if of != name}
    changed = others if image is None else {**others, name: image}
    assert assembled(replace(facts, released=changed)) == (False, False)


def test_a_base_that_was_published_at_another_digest_lends_no_layers(graph: ImageGraph) -> None:
    facts = leaf(graph)
    facts = replace(facts, selection=select(graph, ("app+",), groups=()))
    for digest, bare in ((BASE, True), (ELSE, False)):
        published = Published(digest=digest, tagged=True)
        assert assembled(with_image(facts, "app", published=published)) == (False, bare)


def test_a_base_that_this_run_makes_lends_no_layers(graph: ImageGraph) -> None:
    facts = with_image(leaf(graph), "app", available=None)
    facts = with_image(facts, "base", available=ENGINE)
    assert assembled(facts) == (False, False)


# -- what is asked before --------------------------------------------------------------------------


def test_quick_to_make_is_what_stands_on_this_tree_alone_and_has_no_test(
    graph: ImageGraph,
) -> None:
    obstacles = {"root": "", "base": "line 2 is a RUN", "app": "", "app-api": ""}
    assert quick_to_make(graph, obstacles, ()) == {"app", "app-api"}
    assert quick_to_make(graph, obstacles, ("app",)) == {"app-api"}


@pytest.mark.parametrize(
    ("obstacles", "published", "expected"),
    [
        (None, (), False),
        ({"app": "", "app-api": ""}, (), True),
        ({"app": "line 2 is a RUN", "app-api": ""}, (), False),
        ({"app": "line 2 is a RUN", "app-api": ""}, ("app",), True),
    ],
)
def test_all_are_assembled_where_no_engine_is_needed(
    graph: ImageGraph,
    obstacles: dict[str, str] | None,
    published: tuple[str, ...],
    *,
    expected: bool,
) -> None:
    selection = select(graph, ("app+",), groups=())
    assert all_assembled(selection, obstacles, published) is expected


def test_each_kind_of_decision_has_its_name_in_json() -> None:
    common: dict[str, Any] = {
        "image": "a",
        "reasons": (),
        "key": "",
        "repository": Reference.parse("a"),
        "tag": "1",
    }
    steps = (
        Reuse(reference="a:1", **common),
        Retag(reference="a@d", digest="d", **common),
        Assemble(**common),
        Build(**{**common, "key": "k"}),
        Block(by="b", **common),
    )
    document = plan_json(Plan(commit="", dirty=True, steps=steps))
    assert [(step["action"], step["blocked_by"]) for step in document["steps"]] == [  # type: ignore[attr-defined]
        ("reuse", None),
        ("retag", None),
        ("assemble", None),
        ("build", None),
        ("blocked", "b"),
    ]
    assert [step["key"] for step in document["steps"]] == [None, None, None, "k", None]  # type: ignore[attr-defined]
    assert (document["commit"], document["dirty"]) == (None, True)
