"""Facts that hold for every graph of steps, whatever fails and in whatever order steps end."""

from __future__ import annotations

from hypothesis import given, strategies as st
from msgspec import Struct, field

from builder.core.events import Blocked, Built, Failed, Interrupted, Outcome, Phase, StepId
from builder.core.schedule import Schedule, Task, bound

OK = Built(image_id="sha256:0", size=1, engine="fake")
FAILED = Failed(message="no", exit_code=1)
POOLS = ("build", "push")


@st.composite
def graphs(draw: st.DrawFn) -> list[Task]:
    """Any graph: a step may come after those that were drawn before it, in both manners."""
    steps: list[Task] = []
    for number in range(draw(st.integers(0, 14))):
        earlier = [step.id for step in steps]
        nothing: st.SearchStrategy[frozenset[StepId]] = st.just(frozenset())
        some = st.frozensets(st.sampled_from(earlier), max_size=4) if earlier else nothing
        steps.append(
            Task(
                id=StepId(draw(st.sampled_from(Phase)), f"image-{number}"),
                pool=draw(st.sampled_from(POOLS)),
                needs=draw(some),
                after=draw(some),
                weight=draw(st.floats(0, 100)),
                optional=draw(st.booleans()),
            )
        )
    return draw(st.permutations(steps))


class Story(Struct):
    """What happened in one simulated run.

    ``started_after`` are the steps that were started when the schedule was cancelled already.
    """

    started: list[StepId] = field(default_factory=list)
    started_after: list[StepId] = field(default_factory=list)
    outcomes: dict[StepId, Outcome] = field(default_factory=dict)

    def settle(self, step: StepId, outcome: Outcome) -> None:
        assert step not in self.outcomes, f"{step} ended twice"
        self.outcomes[step] = outcome


def simulate(
    data: st.DataObject,
    steps: list[Task],
    *,
    keep_going: bool = True,
    cancel_at: int | None = None,
    fails: frozenset[StepId] = frozenset(),
) -> Story:
    """Run to the end; hypothesis chooses which of the running steps ends next."""
    limits = {pool: data.draw(st.integers(1, 3)) for pool in POOLS}
    by_id = {step.id: step for step in steps}
    schedule = Schedule(steps, limits, keep_going=keep_going)
    story = Story()
    turn = 0
    stopped = False
    while True:
        if turn == cancel_at:
            stopped = True
            for other, fate in schedule.cancel():
                story.settle(other, fate)
        for id_ in schedule.start_ready():
            assert all(need in story.outcomes for need in by_id[id_].before)
            assert all(story.outcomes[need] is OK for need in by_id[id_].needs)
            story.started.append(id_)
            if stopped:
                story.started_after.append(id_)
        for pool, limit in limits.items():
            assert sum(by_id[id_].pool == pool for id_ in schedule.running) <= limit
        if schedule.finished:
            break
        assert schedule.running, "steps are left, but nothing runs"
        id_ = data.draw(st.sampled_from(schedule.running))
        outcome = FAILED if id_ in fails else OK
        stopped |= outcome is FAILED and not keep_going and not by_id[id_].optional
        story.settle(id_, outcome)
        for other, fate in schedule.finish(id_, outcome):
            assert other not in story.started
            story.settle(other, fate)
        turn += 1
    assert schedule.outcomes == story.outcomes
    assert story.outcomes.keys() == by_id.keys()
    return story


def some_of(data: st.DataObject, steps: list[Task]) -> frozenset[StepId]:
    return frozenset(step.id for step in steps if data.draw(st.integers(0, 3)) == 0)


def roots_of_trouble(step: StepId, by_id: dict[StepId, Task], fails: frozenset[StepId]) -> set[str]:
    """The images whose failure can be why the step did not run: no need of theirs failed before."""
    causes: set[str] = set()
    for need in by_id[step].needs:
        upstream = roots_of_trouble(need, by_id, fails)
        causes |= upstream or ({need.image} if need in fails else set())
    return causes


@given(graphs(), st.data())
def test_all_that_a_failure_does_not_reach_is_done_and_all_else_is_blocked_by_its_root(
    steps: list[Task], data: st.DataObject
) -> None:
    fails = some_of(data, steps)
    story = simulate(data, steps, fails=fails)
    by_id = {step.id: step for step in steps}
    for id_, outcome in story.outcomes.items():
        causes = roots_of_trouble(id_, by_id, fails)
        if isinstance(outcome, Blocked):
            assert outcome.by in causes
        else:
            assert not causes
            assert outcome is (FAILED if id_ in fails else OK)


@given(graphs(), st.data())
def test_fail_fast_starts_nothing_after_a_failure_that_counts(
    steps: list[Task], data: st.DataObject
) -> None:
    fails = some_of(data, steps)
    story = simulate(data, steps, fails=fails, keep_going=False)
    optional = {step.id for step in steps if step.optional}
    failed = [id_ for id_, outcome in story.outcomes.items() if outcome is FAILED]
    stopped = any(id_ not in optional for id_ in failed)
    interrupted = [i for i, outcome in story.outcomes.items() if isinstance(outcome, Interrupted)]
    assert stopped or not interrupted
    assert not story.started_after


@given(graphs(), st.data(), st.integers(0, 10))
def test_cancel_starts_nothing_more_and_lets_the_running_end(
    steps: list[Task], data: st.DataObject, turn: int
) -> None:
    story = simulate(data, steps, cancel_at=turn)
    assert not story.started_after
    for id_, outcome in story.outcomes.items():
        assert (id_ in story.started) == (outcome is OK)
        assert outcome is OK or outcome == Interrupted()


@given(graphs(), st.data(), st.integers(1, 4))
def test_no_order_of_the_builds_takes_less_than_the_bound(
    steps: list[Task], data: st.DataObject, jobs: int
) -> None:
    """List scheduling in virtual time: a clock that jumps to the next end of a step."""
    making = [
        Task(id=StepId(Phase.BUILD, s.id.image), pool="build", weight=s.weight) for s in steps
    ]
    parents = {s.id.image: {need.image for need in s.needs} for s in steps}
    making = [
        Task(
            id=s.id,
            pool=s.pool,
            weight=s.weight,
            needs=frozenset(StepId(Phase.BUILD, image) for image in parents[s.id.image]),
        )
        for s in making
    ]
    seconds = {s.id: data.draw(st.floats(0, 50)) for s in making}
    schedule = Schedule(making, {"build": jobs})
    now, ends = 0.0, dict[StepId, float]()
    while not schedule.finished:
        ends.update((id_, now + seconds[id_]) for id_ in schedule.start_ready())
        first = min(schedule.running, key=lambda id_: ends[id_])
        now = ends[first]
        schedule.finish(first, OK)
    least = bound(making, jobs, seconds)
    assert now >= least - 1e-6
    # Graham: no list schedule takes more than twice the best.
    assert now <= 2 * least + 1e-6
