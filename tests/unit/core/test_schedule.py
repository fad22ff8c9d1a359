"""The rules by which steps start, end, and keep each other from starting."""

from __future__ import annotations

import pytest

from builder.core.errors import Bug
from builder.core.events import Blocked, Built, Failed, Interrupted, Outcome, Phase, StepId
from builder.core.schedule import Schedule, State, Task, bound

OK = Built(image_id="sha256:0", size=1, engine="fake")
FAILED = Failed(message="no", exit_code=1)
LIMITS = {"build": 2, "push": 4}


def build(image: str) -> StepId:
    return StepId(Phase.BUILD, image)


def push(image: str) -> StepId:
    return StepId(Phase.PUSH, image)


def step(
    id_: StepId,
    *needs: StepId,
    after: tuple[StepId, ...] = (),
    weight: float = 1.0,
    optional: bool = False,
) -> Task:
    return Task(
        id=id_,
        pool="build" if id_.phase is Phase.BUILD else "push",
        needs=frozenset(needs),
        after=frozenset(after),
        weight=weight,
        optional=optional,
    )


def chain(*images: str) -> list[Task]:
    """Each image is built on the one before it."""
    parents = [(), *((build(image),) for image in images)]
    return [step(build(image), *parent) for image, parent in zip(images, parents, strict=False)]


def test_a_child_starts_when_its_parent_is_built_though_the_parent_is_not_pushed() -> None:
    steps = [*chain("base", "nova"), step(push("base"), build("base"))]
    schedule = Schedule(steps, LIMITS)
    assert schedule.start_ready() == [build("base")]
    assert schedule.finish(build("base"), OK) == []
    assert schedule.start_ready() == [build("nova"), push("base")]


def test_a_task_waits_is_ready_runs_and_is_settled() -> None:
    schedule = Schedule([*chain("base", "nova", "web"), step(push("base"), build("base"))], LIMITS)

    def states() -> list[State]:
        return [schedule.state(id_) for id_ in (build("base"), build("nova"), push("base"))]

    assert states() == [State.READY, State.WAITING, State.WAITING]
    schedule.start_ready()
    assert states() == [State.RUNNING, State.WAITING, State.WAITING]
    schedule.finish(build("base"), OK)
    assert states() == [State.SETTLED, State.READY, State.READY]
    with pytest.raises(Bug, match="was not running: it starts as soon as its pool has room"):
        schedule.finish(build("nova"), OK)
    schedule.start_ready(lambda id_: id_.phase is Phase.BUILD)
    schedule.cancel()
    assert states() == [State.SETTLED, State.RUNNING, State.SETTLED]
    assert schedule.state(build("web")) is State.SETTLED


def test_the_longest_remaining_path_goes_first_and_equals_go_by_name() -> None:
    steps = [
        step(build("alone"), weight=5),
        step(build("b"), weight=1),
        step(build("child"), build("b"), weight=9),
        step(build("a"), weight=5),
    ]
    schedule = Schedule(steps, {"build": 3, "push": 1})
    assert schedule.start_ready() == [build("b"), build("a"), build("alone")]


def test_a_failure_blocks_all_that_is_built_on_it_once_and_names_the_first_to_fail() -> None:
    steps = [
        *chain("base", "nova", "nova-api"),
        step(build("tool")),
        step(build("both"), build("nova-api"), build("tool")),
    ]
    schedule = Schedule(steps, LIMITS)
    assert schedule.start_ready() == [build("base"), build("tool")]
    schedule.finish(build("base"), OK)
    schedule.start_ready()
    assert schedule.finish(build("nova"), FAILED) == [
        (build("nova-api"), Blocked(by="nova")),
        (build("both"), Blocked(by="nova")),
    ]
    assert schedule.finish(build("tool"), FAILED) == []
    assert schedule.finished


def test_a_step_that_work_found_blocked_blocks_its_dependents_with_the_same_cause() -> None:
    schedule = Schedule(chain("base", "nova"), LIMITS)
    schedule.start_ready()
    settled = schedule.finish(build("base"), Blocked(by="elsewhere"))
    assert settled == [(build("nova"), Blocked(by="elsewhere"))]


def test_what_needs_an_interrupted_step_is_interrupted() -> None:
    schedule = Schedule(chain("base", "nova"), LIMITS)
    schedule.start_ready()
    assert schedule.finish(build("base"), Interrupted()) == [(build("nova"), Interrupted())]


def test_after_waits_for_the_end_of_a_step_however_it_ends() -> None:
    tag = StepId(Phase.TAG, "nova")
    steps = [*chain("base", "odd"), step(build("nova")), step(tag, build("nova"))]
    steps[-1] = step(tag, build("nova"), after=(build("odd"),))
    schedule = Schedule(steps, LIMITS)
    schedule.start_ready()
    schedule.finish(build("nova"), OK)
    assert schedule.start_ready() == []
    assert schedule.finish(build("base"), FAILED) == [(build("odd"), Blocked(by="base"))]
    assert schedule.start_ready() == [tag]


def test_fail_fast_blocks_the_dependents_and_interrupts_the_rest() -> None:
    steps = [*chain("base", "nova"), *chain("other", "other-child"), *chain("third", "last")]
    schedule = Schedule(steps, LIMITS, keep_going=False)
    assert schedule.start_ready() == [build("base"), build("other")]
    assert schedule.finish(build("base"), FAILED) == [
        (build("nova"), Blocked(by="base")),
        (build("third"), Interrupted()),
        (build("last"), Interrupted()),
        (build("other-child"), Interrupted()),
    ]
    assert schedule.cancelled
    assert schedule.running == [build("other")]
    assert schedule.start_ready() == []
    assert schedule.finish(build("other"), OK) == []
    assert schedule.finished


def test_fail_fast_does_not_stop_for_an_optional_image() -> None:
    steps = [step(build("extra"), optional=True), step(build("nova")), step(build("zun"))]
    schedule = Schedule(steps, LIMITS, keep_going=False)
    schedule.start_ready()
    assert schedule.finish(build("extra"), FAILED) == []
    assert schedule.start_ready() == [build("zun")]


def test_cancel_interrupts_all_that_has_not_started() -> None:
    schedule = Schedule([*chain("base", "nova"), step(build("other"))], {"build": 1, "push": 1})
    assert schedule.start_ready() == [build("base")]
    assert schedule.cancel() == [(build("nova"), Interrupted()), (build("other"), Interrupted())]
    assert schedule.cancel() == []
    assert not schedule.finished
    assert schedule.finish(build("base"), OK) == []
    assert schedule.finished


def test_a_refused_step_is_not_overtaken_by_a_lighter_one_of_its_pool() -> None:
    steps = [step(build("heavy"), weight=9), step(build("light")), step(push("other"))]
    schedule = Schedule(steps, LIMITS)
    asked: list[StepId] = []

    def may_start(id_: StepId) -> bool:
        asked.append(id_)
        return id_ != build("heavy")

    assert schedule.start_ready(may_start) == [push("other")]
    assert asked == [build("heavy"), push("other")]
    assert schedule.start_ready() == [build("heavy"), build("light")]


def test_a_step_that_is_not_running_cannot_end() -> None:
    schedule = Schedule(chain("base"), LIMITS)
    with pytest.raises(Bug, match="build base ended, but it was not running"):
        schedule.finish(build("base"), OK)


@pytest.mark.parametrize(
    ("steps", "message"),
    [
        ([step(build("a")), step(build("a"))], "build a is scheduled twice"),
        ([step(build("a"), build("b"))], "build a needs build b, which is not scheduled"),
        (
            [step(build("a"), build("b")), step(build("b"), build("a"))],
            "these steps wait for each other: build [ab] -> build [ab] -> build [ab]",
        ),
        (
            [Task(id=build("a"), pool="farm")],
            'build a is in pool "farm", which has no limit',
        ),
    ],
)
def test_steps_that_could_never_end_are_a_bug(steps: list[Task], message: str) -> None:
    with pytest.raises(Bug, match=message):
        Schedule(steps, LIMITS)


def test_a_pool_without_room_is_a_bug() -> None:
    with pytest.raises(Bug, match='pool "push" has a limit of 0'):
        Schedule([], {"push": 0})


def test_nothing_to_do_is_finished_at_once() -> None:
    assert Schedule([], LIMITS).finished


@pytest.mark.parametrize(("jobs", "least"), [(1, 11.0), (2, 7.0), (100, 7.0)])
def test_the_bound_is_the_longest_path_or_the_work_divided_by_the_jobs(
    jobs: int, least: float
) -> None:
    test = StepId(Phase.TEST, "nova")
    steps = [
        *chain("base", "nova"),
        step(build("other")),
        step(test, build("nova")),
        step(push("nova"), test),
    ]
    seconds = {
        build("base"): 4.0,
        build("nova"): 2.0,
        test: 1.0,
        build("other"): 4.0,
        push("nova"): 99.0,
    }
    assert bound(steps, jobs, seconds) == least


def test_outcomes_hold_every_step_in_the_end() -> None:
    schedule = Schedule(chain("base", "nova"), LIMITS)
    schedule.start_ready()
    schedule.finish(build("base"), FAILED)
    expected: dict[StepId, Outcome] = {build("base"): FAILED, build("nova"): Blocked(by="base")}
    assert schedule.outcomes == expected
