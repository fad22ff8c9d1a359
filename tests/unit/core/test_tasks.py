"""What each phase of each image waits for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from msgspec.structs import replace

from builder.core.events import Phase, StepId
from builder.core.plan import Action, Decision, Plan
from builder.core.schedule import GATE, Task
from builder.core.tasks import connect, phases
from tests.support.decisions import decision as image

BUILD, TEST, PUSH, CLAIM, TAG, MOVE = Phase
ALL = (BUILD, TEST, PUSH, TAG, MOVE)


def wired(
    *images: Decision, phases: Mapping[str, Sequence[Phase]] | None = None
) -> dict[str, Task]:
    """The steps under their names as a person reads them, with what lies behind a gate."""
    plan = Plan(commit="c0ffee", dirty=False, steps=images)
    chosen = phases or {step.image: ALL for step in images}
    steps = connect(plan, chosen, {"base": 40.0})
    gates = {step.id: step for step in steps if step.pool == GATE}
    return {str(step.id): _through(step, gates) for step in steps if step.id not in gates}


def _through(step: Task, gates: Mapping[StepId, Task]) -> Task:
    behind = [gates[id_] for id_ in step.needs if id_ in gates]
    return replace(
        step,
        needs=(step.needs - gates.keys()).union(*(gate.needs for gate in behind)),
        after=step.after.union(*(gate.after for gate in behind)),
    )


def test_the_edges_of_a_barrier_grow_with_the_images_not_with_their_square() -> None:
    images = [image(f"image-{number}") for number in range(100)]
    plan = Plan(commit="c0ffee", dirty=False, steps=tuple(images))
    steps = connect(plan, {step.image: ALL for step in images}, {})
    assert sum(len(step.before) for step in steps) < 15 * len(images)


def names(ids: frozenset[StepId]) -> set[str]:
    return {str(id_) for id_ in ids}


def test_a_build_needs_the_builds_of_its_parents_and_nothing_else() -> None:
    steps = wired(image("base"), image("nova", "base"), image("api", "nova"))
    assert names(steps["build api"].before) == {"build nova"}


def test_what_is_assembled_on_a_build_of_this_run_also_needs_its_push() -> None:
    child = replace(image("app", "base", action=Action.ASSEMBLE), pushed=("base",))
    steps = wired(image("base"), child)
    assert names(steps["build app"].needs) == {"build base", "push base"}
    assert names(steps["push base"].needs) == {"build base", "test base"}


def test_a_push_needs_the_tests_of_all_that_the_image_is_built_on() -> None:
    steps = wired(image("base"), image("nova", "base"), image("api", "nova"))
    assert names(steps["push api"].before) == {"build api", "test api", "test nova", "test base"}


def test_tags_wait_for_every_image_that_must_not_be_missing() -> None:
    steps = wired(image("base"), image("nova", "base"))
    assert names(steps["tag nova"].needs) == {
        "build nova",
        "test nova",
        "push nova",
        "push base",
    }


def test_tags_wait_for_the_end_of_an_optional_image_but_not_for_its_success() -> None:
    steps = wired(image("base"), image("extra", optional=True))
    assert names(steps["tag base"].after) == {"push extra"}
    assert "push extra" not in names(steps["tag base"].needs)
    assert {"push extra", "push base"} <= names(steps["tag extra"].needs)


def test_moving_tags_wait_for_all_other_tags() -> None:
    steps = wired(image("base"), image("nova"), image("extra", optional=True))
    assert {"tag base", "tag nova"} <= names(steps["move nova"].needs)
    assert names(steps["move nova"].after) == {"tag extra"}


def test_an_image_that_is_built_but_not_published_still_keeps_the_tags_back() -> None:
    steps = wired(
        image("base"), image("nova", "base"), phases={"base": (BUILD,), "nova": (BUILD, PUSH, TAG)}
    )
    assert "build base" in names(steps["tag nova"].needs)


def test_phases_that_an_image_lacks_are_needed_by_nobody() -> None:
    steps = wired(image("base"), image("nova", "base"), phases={"base": (), "nova": (BUILD,)})
    assert steps.keys() == {"build nova"}
    assert steps["build nova"].before == frozenset()


def test_a_test_counts_as_a_build_and_a_tag_as_a_push() -> None:
    steps = wired(image("base"))
    pools = {name: step.pool for name, step in steps.items()}
    assert pools == {
        "build base": "build",
        "test base": "build",
        "push base": "push",
        "tag base": "push",
        "move base": "push",
    }


def test_a_build_weighs_what_is_expected_of_it_and_an_unknown_one_counts_as_one_generation() -> (
    None
):
    steps = wired(image("base"), image("nova", "base"))
    assert steps["build base"].weight == 40.0
    assert steps["build nova"].weight > 0


# -- which phases there are ------------------------------------------------------------------------


def phases_of(
    *images: Decision,
    tested: Sequence[str] = (),
    push: bool = True,
) -> dict[str, list[Phase]]:
    plan = Plan(commit="c0ffee", dirty=False, steps=images)
    return phases(plan, tested, push=push)


def test_what_is_made_is_tested_pushed_and_tagged() -> None:
    web = replace(image("web", action=Action.ASSEMBLE), moving=("latest",))
    made = (image("app"), web)
    assert phases_of(*made, tested=("app",)) == {
        "app": [BUILD, TEST, PUSH, TAG, CLAIM],
        "web": [BUILD, PUSH, TAG, MOVE],
    }
    assert phases_of(*made, tested=("app",), push=False) == {
        "app": [BUILD, TEST],
        "web": [BUILD],
    }


def test_what_the_registry_has_is_only_tagged_or_left_alone() -> None:
    moving = {"moving": ("latest",)}
    base = replace(image("base", action=Action.REUSE), digest="d", **moving)
    app = replace(image("app", action=Action.RETAG), **moving)
    assert phases_of(base, app, tested=("app", "base")) == {
        "base": [],
        "app": [TAG, MOVE, CLAIM],
    }
    assert phases_of(image("web", action=Action.RETAG)) == {"web": [TAG, CLAIM]}
    assert phases_of(image("base", action=Action.REUSE)) == {"base": [BUILD]}
    assert phases_of(image("bad", action=Action.BLOCKED), tested=("bad",)) == {"bad": []}


def test_an_image_that_may_fail_does_not_take_the_claim() -> None:
    assert phases_of(image("odd", optional=True), image("app"), image("web")) == {
        "odd": [BUILD, PUSH, TAG],
        "app": [BUILD, PUSH, TAG, CLAIM],
        "web": [BUILD, PUSH, TAG],
    }


def test_where_all_images_may_fail_each_takes_the_claim() -> None:
    assert phases_of(image("odd", optional=True), image("even", optional=True)) == {
        "odd": [BUILD, PUSH, TAG, CLAIM],
        "even": [BUILD, PUSH, TAG, CLAIM],
    }
