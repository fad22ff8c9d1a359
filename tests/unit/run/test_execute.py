"""Steps are worked off by threads, and every one of them ends, whatever their work does."""

from __future__ import annotations

import tempfile
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from msgspec import Struct, field

from builder.core.errors import Bug, BuildError, InterruptedRunError, Location, PublishError
from builder.core.events import (
    Blocked,
    Built,
    Event,
    Failed,
    Interrupted,
    Note,
    Outcome,
    Phase,
    StepFinished,
    StepId,
    StepOutput,
    StepRetried,
    StepStarted,
)
from builder.core.schedule import RetryPolicy, Task
from builder.run.execute import Results, execute
from builder.run.workers import Context, Work
from tests.support.clock import FakeClock

OK = Built(image_id="sha256:0", size=1, engine="fake")
# Only reached if something is broken: a test that would hang fails instead.
LONG = 30.0


def build(image: str) -> StepId:
    return StepId(Phase.BUILD, image)


def step(image: str, *parents: str) -> Task:
    return Task(id=build(image), pool="build", needs=frozenset(build(parent) for parent in parents))


class Run(Struct):
    """One execution and all that it told; ``on_event`` is called by the owner."""

    clock: FakeClock = field(default_factory=FakeClock)
    cancel: threading.Event = field(default_factory=threading.Event)
    kill: threading.Event = field(default_factory=threading.Event)
    events: list[Event] = field(default_factory=list)
    on_event: Callable[[Event], None] | None = None

    def __call__(
        self,
        steps: list[Task],
        work: Work,
        *,
        jobs: int = 2,
        retry: RetryPolicy | None = None,
        keep_going: bool = True,
        room: Callable[[], str | None] | None = None,
        grace: float = LONG,
    ) -> Results:
        return execute(
            steps,
            work,
            limits={"build": jobs},
            clock=self.clock,
            report=self.report,
            cancel=self.cancel,
            kill=self.kill,
            retry=retry,
            keep_going=keep_going,
            room=room,
            grace=grace,
        )

    def report(self, event: Event) -> None:
        self.events.append(event)
        if self.on_event is not None:
            self.on_event(event)

    @property
    def outcomes(self) -> dict[str, Outcome]:
        ends = [event for event in self.events if isinstance(event, StepFinished)]
        assert max(Counter(end.step for end in ends).values(), default=1) == 1
        return {end.step.image: end.outcome for end in ends}

    @property
    def notes(self) -> list[str]:
        return [event.text for event in self.events if isinstance(event, Note)]


def until_cancelled(context: Context) -> Outcome:
    """Work that ends as an engine does when it is told to stop."""
    assert context.cancel.wait(LONG)
    raise InterruptedRunError("stopped")


def test_work_gets_the_outcomes_of_what_it_needs_and_what_it_tells_is_reported_in_order() -> None:
    run = Run()
    seen: list[dict[StepId, Outcome]] = []

    def work(step: StepId, context: Context) -> Outcome:
        seen.append(dict(context.needed))
        context.emit(StepOutput(step=step, line=f"hello from {step.image}"))
        return OK

    results = run([step("base"), step("nova", "base")], work, jobs=1)
    assert seen == [{}, {build("base"): OK}]
    told = [(type(event).__name__, getattr(event, "step", None)) for event in run.events]
    assert told == [
        (kind, build(image))
        for image in ("base", "nova")
        for kind in ("StepStarted", "StepOutput", "StepFinished")
    ]
    assert [end.outcome for end in results.finished.values()] == [OK, OK]
    assert not results.interrupted


def test_as_many_steps_run_at_once_as_there_are_jobs() -> None:
    both = threading.Barrier(2)

    def work(step: StepId, context: Context) -> Outcome:
        # Neither gets past the barrier without the other.
        both.wait(LONG)
        return OK

    run = Run()
    run([step("a"), step("b")], work, jobs=2)
    assert run.outcomes == {"a": OK, "b": OK}


def test_reports_are_only_made_by_the_thread_that_called() -> None:
    threads: set[threading.Thread] = set()
    run = Run(on_event=lambda _: threads.add(threading.current_thread()))

    def work(step: StepId, context: Context) -> Outcome:
        context.emit(StepOutput(step=step, line="x"))
        return OK

    run([step("a"), step("b"), step("c")], work)
    assert threads == {threading.current_thread()}


def test_a_known_error_fails_its_step_with_place_hint_and_the_last_lines() -> None:
    def work(step: StepId, context: Context) -> Outcome:
        if step.image == "nova":
            for number in range(30):
                context.emit(StepOutput(step=step, line=f"line {number}"))
            raise BuildError("it broke", where=Location("nova/Dockerfile", 3), hint="mend it")
        return OK

    run = Run()
    run([step("nova"), step("child", "nova"), step("other")], work)
    assert run.outcomes == {
        "nova": Failed(
            message="it broke",
            exit_code=1,
            where=Location("nova/Dockerfile", 3),
            log_tail=tuple(f"line {number}" for number in range(10, 30)),
            hint="mend it",
        ),
        "child": Blocked(by="nova"),
        "other": OK,
    }


def test_a_transient_fault_is_repeated_after_growing_waits_until_it_is_over() -> None:
    attempts: list[int] = []

    def work(step: StepId, context: Context) -> Outcome:
        attempts.append(context.attempt)
        if context.attempt < 4:
            raise PublishError("503", transient=True)
        return OK

    run = Run(clock=FakeClock(chance=0.5))
    run([step("nova")], work, retry=RetryPolicy(retries=3, first=2.0, longest=5.0))
    assert run.outcomes == {"nova": OK}
    assert attempts == [1, 2, 3, 4]
    assert run.clock.waits == [1.5, 3.0, 3.75]
    retried = [event for event in run.events if isinstance(event, StepRetried)]
    assert [(event.attempt, event.delay, event.message) for event in retried] == [
        (1, 1.5, "503"),
        (2, 3.0, "503"),
        (3, 3.75, "503"),
    ]


def test_a_fault_that_stays_fails_the_step_after_the_last_retry() -> None:
    attempts: list[int] = []

    def work(step: StepId, context: Context) -> Outcome:
        attempts.append(context.attempt)
        return Failed(message="503", exit_code=4, transient=True)

    run = Run()
    run([step("nova")], work, retry=RetryPolicy(retries=2))
    assert attempts == [1, 2, 3]
    assert run.outcomes == {"nova": Failed(message="503", exit_code=4, transient=True)}


def test_a_permanent_failure_is_not_repeated() -> None:
    attempts: list[int] = []

    def work(step: StepId, context: Context) -> Outcome:
        attempts.append(context.attempt)
        raise BuildError("exit code 2")

    run = Run()
    run([step("nova")], work, retry=RetryPolicy(retries=5))
    assert attempts == [1]
    assert run.clock.waits == []


def test_the_log_tail_is_of_the_last_attempt_only() -> None:
    def work(step: StepId, context: Context) -> Outcome:
        context.emit(StepOutput(step=step, line=f"attempt {context.attempt}"))
        raise BuildError("mirror gone", transient=True)

    run = Run()
    run([step("nova")], work, retry=RetryPolicy(retries=1))
    outcome = run.outcomes["nova"]
    assert isinstance(outcome, Failed)
    assert outcome.log_tail == ("attempt 2",)


@pytest.mark.parametrize("error", [ZeroDivisionError("ours"), Bug("ours"), SystemExit("ours")])
def test_any_other_exception_fails_its_image_alone_and_is_kept_in_a_file(
    error: BaseException, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))

    def work(step: StepId, context: Context) -> Outcome:
        if step.image == "bad":
            raise error
        return OK

    run = Run()
    run([step("bad"), step("other"), step("third"), step("child", "bad")], work)
    outcomes = dict(run.outcomes)
    failed = outcomes.pop("bad")
    assert isinstance(failed, Failed)
    assert failed.message == f"this is a bug in ocbuild: {type(error).__name__}: ours"
    (log,) = tmp_path.iterdir()
    assert failed.hint == f"please report it with the log file {log}"
    assert "Traceback" in log.read_text()
    assert failed.exit_code == 70
    assert outcomes == {"other": OK, "third": OK, "child": Blocked(by="bad")}


def test_a_broken_report_stops_the_work_and_goes_through() -> None:
    stopped = threading.Event()

    def work(step: StepId, context: Context) -> Outcome:
        context.emit(StepOutput(step=step, line="x"))
        try:
            return until_cancelled(context)
        finally:
            stopped.set()

    def breaks(event: Event) -> None:
        assert not isinstance(event, StepOutput), "broken report"

    with pytest.raises(AssertionError, match="broken report"):
        Run(on_event=breaks)([step("nova")], work)
    assert stopped.is_set()


def test_cancel_interrupts_what_runs_and_what_has_not_started() -> None:
    run = Run()

    def work(step: StepId, context: Context) -> Outcome:
        run.cancel.set()
        return until_cancelled(context)

    results = run([step("a"), step("b"), step("child", "a")], work, jobs=1)
    assert run.outcomes == dict.fromkeys(("a", "b", "child"), Interrupted())
    assert results.interrupted
    assert not results.abandoned
    assert run.notes == ["interrupted; stopping build a; press Ctrl-C again to leave them behind"]


def test_work_that_ends_well_in_spite_of_cancel_counts() -> None:
    run = Run()

    def work(step: StepId, context: Context) -> Outcome:
        run.cancel.set()
        assert context.cancel.wait(LONG)
        return OK

    results = run([step("a")], work)
    assert run.outcomes == {"a": OK}
    assert not results.interrupted


def test_cancel_before_the_start_starts_nothing() -> None:
    run = Run()
    run.cancel.set()
    results = run([step("a"), step("b", "a")], lambda step, context: OK)
    assert run.outcomes == {"a": Interrupted(), "b": Interrupted()}
    assert not any(isinstance(event, StepStarted) for event in run.events)
    assert results.interrupted


def test_cancel_ends_the_wait_before_a_retry() -> None:
    run = Run(on_event=lambda event: run.cancel.set() if isinstance(event, StepRetried) else None)

    class Patient(FakeClock):
        def wait(self, event: threading.Event, seconds: float) -> bool:
            self.waits.append(seconds)
            return event.wait(LONG)

    run.clock = Patient()

    def work(step: StepId, context: Context) -> Outcome:
        raise PublishError("503", transient=True)

    run([step("nova")], work)
    assert run.outcomes == {"nova": Interrupted()}
    assert len(run.clock.waits) == 1


def test_a_fault_of_work_that_is_being_stopped_is_not_said_to_be_repeated() -> None:
    run = Run()

    def work(step: StepId, context: Context) -> Outcome:
        run.cancel.set()
        assert context.cancel.wait(LONG)
        raise PublishError("connection lost", transient=True)

    run([step("nova")], work)
    assert run.outcomes == {"nova": Interrupted()}
    assert not any(isinstance(event, StepRetried) for event in run.events)


@pytest.mark.parametrize("how", ["kill", "grace"])
def test_work_that_does_not_stop_is_left_behind_on_the_second_signal_or_in_the_end(
    how: str,
) -> None:
    run = Run()
    release = threading.Event()

    def work(step: StepId, context: Context) -> Outcome:
        run.cancel.set()
        assert context.cancel.wait(LONG)
        if how == "kill":
            run.kill.set()
        else:
            run.clock.advance(11)
        assert release.wait(LONG)
        return OK

    results = run([step("deaf")], work, grace=LONG if how == "kill" else 10)
    release.set()
    assert run.outcomes == {"deaf": Interrupted()}
    assert results.abandoned == {build("deaf")}
    assert run.notes[-1] == "not waiting any longer for: build deaf"


def test_fail_fast_stops_what_runs_and_is_no_interruption_by_the_user() -> None:
    other_runs = threading.Event()

    def work(step: StepId, context: Context) -> Outcome:
        if step.image == "other":
            other_runs.set()
            return until_cancelled(context)
        assert other_runs.wait(LONG)
        raise BuildError("no")

    run = Run()
    results = run([step("bad"), step("other"), step("third")], work, keep_going=False)
    assert run.outcomes == {
        "bad": Failed(message="no", exit_code=1),
        "other": Interrupted(),
        "third": Interrupted(),
    }
    assert not results.interrupted
    assert run.notes == ["stopping build other because of the failure"]


def test_a_build_waits_for_room_as_long_as_another_one_runs() -> None:
    asked = threading.Event()
    running: list[StepId] = []
    at_once: list[int] = []

    def room() -> str | None:
        asked.set()
        return "100 MB of memory are free"

    def work(step: StepId, context: Context) -> Outcome:
        running.append(step)
        at_once.append(len(running))
        if step.image == "a":
            assert asked.wait(LONG)
        running.remove(step)
        return OK

    run = Run()
    run([step("a"), step("b"), step("c")], work, jobs=3, room=room)
    assert run.outcomes == {"a": OK, "b": OK, "c": OK}
    assert at_once == [1, 1, 1]
    assert run.notes[0] == "no further build is started for now: 100 MB of memory are free"


def test_a_reason_to_wait_is_told_once() -> None:
    answers = iter(["90 MB are free", "80 MB are free", "70 MB are free"])
    enough = threading.Event()

    def room() -> str | None:
        run.clock.advance(60)
        answer = next(answers, None)
        if answer is None:
            enough.set()
        return answer

    def work(step: StepId, context: Context) -> Outcome:
        assert enough.wait(LONG)
        return OK

    run = Run()
    run([step("a"), step("b")], work, jobs=2, room=room)
    assert run.notes == ["no further build is started for now: 90 MB are free"]


def test_a_new_wait_for_room_is_told_anew() -> None:
    answers = iter(["90 MB are free", None, "80 MB are free"])
    enough = threading.Event()

    def room() -> str | None:
        run.clock.advance(60)
        try:
            return next(answers)
        except StopIteration:
            enough.set()
            return None

    def work(step: StepId, context: Context) -> Outcome:
        assert enough.wait(LONG)
        return OK

    run = Run()
    run([step("a"), step("b"), step("c")], work, jobs=3, room=room)
    assert run.notes == [
        "no further build is started for now: 90 MB are free",
        "no further build is started for now: 80 MB are free",
    ]


def test_room_is_not_asked_for_again_at_every_look() -> None:
    asked: list[None] = []
    both_asked = threading.Event()

    def room() -> str | None:
        asked.append(None)
        both_asked.set()
        return "little memory"

    def work(step: StepId, context: Context) -> Outcome:
        if step.image == "a":
            assert both_asked.wait(LONG)
            for number in range(50):
                # Each of these lines makes the owner look again, at a time that stands still.
                context.emit(StepOutput(step=step, line=str(number)))
        return OK

    run = Run()
    run([step("a"), step("b")], work, jobs=2, room=room)
    assert len(asked) == 1
    assert run.outcomes == {"a": OK, "b": OK}


def test_seconds_are_the_time_between_start_and_end() -> None:
    run = Run()

    def work(step: StepId, context: Context) -> Outcome:
        run.clock.advance(41)
        return OK

    results = run([step("nova")], work)
    assert results.finished[build("nova")].seconds == 41


def test_nothing_to_do_ends_at_once() -> None:
    assert Run()([], lambda step, context: OK).finished == {}
