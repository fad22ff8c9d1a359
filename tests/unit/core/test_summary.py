"""What a run amounts to: the status of each image and the exit code."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pytest

from builder.core.events import (
    Blocked,
    Built,
    Failed,
    ImageStatus,
    Interrupted,
    Outcome,
    Phase,
    Pushed,
    Reused,
    StepFinished,
    StepId,
    Summary,
    Tagged,
    Tested as WasTested,
)
from builder.core.plan import Action, Decision, Plan
from builder.core.summary import summarise
from builder.core.tasks import connect
from tests.support.story import BUILD, PUSH, TAG, TEST, image

PHASES = (BUILD, TEST, PUSH, TAG)
BUILT = Built(image_id="sha256:i", size=7, engine="buildx")
PASSED = WasTested(commands=1)
PUSHED = Pushed(digest="sha256:d", uploaded=5)
BROKEN = Failed(message="no", exit_code=1)
UNREACHABLE = Failed(message="503", exit_code=4)
STOPPED = Interrupted()


def tagged(name: str) -> Tagged:
    return Tagged(references=(f"reg/ns/{name}:1-c0ffee",))


def summary_of(
    outcomes: Mapping[tuple[str, Phase], Outcome],
    *images: Decision,
    phases: Sequence[Phase] = PHASES,
    interrupted: bool = False,
) -> Summary:
    """The summary of a run in which each step took two seconds."""
    plan = Plan(commit="c0ffee", dirty=True, steps=images or (image("nova"),))
    ends = [
        StepFinished(step=StepId(phase, name), outcome=outcome, seconds=2.0, at=0.0)
        for (name, phase), outcome in outcomes.items()
    ]
    return summarise(
        plan,
        {end.step: end for end in ends},
        run_id="r1",
        steps=connect(plan, {step.image: phases for step in plan.steps}, {}),
        jobs=2,
        started=100.0,
        seconds=12.0,
        interrupted=interrupted,
        log_of=lambda name: f"logs/{name}.log",
    )


def all_well(name: str) -> dict[tuple[str, Phase], Outcome]:
    return {
        (name, BUILD): BUILT,
        (name, TEST): PASSED,
        (name, PUSH): PUSHED,
        (name, TAG): tagged(name),
    }


def test_an_image_that_was_made_and_published_is_ok() -> None:
    summary = summary_of(all_well("nova"))
    nova = summary.images["nova"]
    assert (nova.status, nova.action, nova.reasons) == (
        ImageStatus.OK,
        "build",
        ('selected by "all"',),
    )
    assert (nova.key, nova.digest, nova.refs) == (
        "nova-key",
        "sha256:d",
        ("reg/ns/nova:1-c0ffee",),
    )
    assert (nova.seconds, nova.size, nova.pushed_bytes) == (4.0, 7, 5)
    assert nova.log == "logs/nova.log"
    assert (summary.status, summary.exit_code, summary.bound_seconds) == ("ok", 0, 4.0)
    assert (summary.commit, summary.dirty, summary.started) == ("c0ffee", True, 100.0)


def test_an_image_that_was_made_but_not_tagged_because_of_another_is_ok_without_refs() -> None:
    summary = summary_of(
        {**all_well("good"), ("good", TAG): Blocked(by="bad"), ("bad", BUILD): BROKEN},
        image("good"),
        image("bad"),
    )
    assert summary.images["good"].status is ImageStatus.OK
    assert summary.images["good"].refs == ()
    assert summary.images["bad"].status is ImageStatus.FAILED
    assert summary.images["bad"].error == BROKEN


def test_without_publishing_the_refs_are_the_names_in_the_engine() -> None:
    summary = summary_of(
        {("good", BUILD): BUILT, ("bad", BUILD): BROKEN},
        image("good"),
        image("bad"),
        phases=(BUILD,),
    )
    assert summary.images["good"].refs == ("reg/ns/good:1-c0ffee",)
    assert summary.images["bad"].refs == ()


def test_a_failure_outweighs_the_steps_that_it_blocked() -> None:
    blocked = Blocked(by="nova")
    summary = summary_of(
        {
            ("nova", BUILD): BUILT,
            ("nova", TEST): BROKEN,
            ("nova", PUSH): blocked,
            ("nova", TAG): blocked,
        }
    )
    nova = summary.images["nova"]
    assert (nova.status, nova.blocked_by, nova.error) == (ImageStatus.FAILED, None, BROKEN)


def test_a_blocked_image_names_its_cause_and_has_no_log() -> None:
    blocked = Blocked(by="base")
    summary = summary_of(
        {
            ("base", BUILD): BROKEN,
            **{("nova", phase): blocked for phase in PHASES},
        },
        image("base"),
        image("nova", "base"),
    )
    nova = summary.images["nova"]
    assert (nova.status, nova.blocked_by) == (ImageStatus.BLOCKED, "base")


@pytest.mark.parametrize(
    ("ends", "status"),
    [
        ({}, ImageStatus.INTERRUPTED),
        ({BUILD: STOPPED}, ImageStatus.INTERRUPTED),
        ({BUILD: BUILT, TEST: PASSED, PUSH: STOPPED}, ImageStatus.INTERRUPTED),
        ({BUILD: BUILT, TEST: PASSED, PUSH: PUSHED, TAG: STOPPED}, ImageStatus.OK),
    ],
)
def test_an_image_is_interrupted_while_its_own_steps_are_not_done(
    ends: dict[Phase, Outcome], status: ImageStatus
) -> None:
    summary = summary_of({("nova", phase): end for phase, end in ends.items()}, interrupted=True)
    assert summary.images["nova"].status is status
    assert (summary.status, summary.exit_code) == ("interrupted", 130)


def test_a_step_without_end_makes_the_run_interrupted_rather_than_ok() -> None:
    assert summary_of({}).exit_code == 130


@pytest.mark.parametrize(
    ("action", "ends", "status"),
    [
        (Action.RETAG, {TAG: tagged("nova")}, ImageStatus.OK),
        (Action.RETAG, {TAG: Blocked(by="bad")}, ImageStatus.SKIPPED),
        (Action.RETAG, {TAG: STOPPED}, ImageStatus.INTERRUPTED),
        (Action.REUSE, {TAG: Blocked(by="bad")}, ImageStatus.OK),
    ],
)
def test_an_image_of_which_nothing_is_made_is_as_good_as_its_tags(
    action: Action, ends: dict[Phase, Outcome], status: ImageStatus
) -> None:
    summary = summary_of(
        {("nova", phase): end for phase, end in ends.items()},
        image("nova", action=action),
        phases=(TAG,),
    )
    assert summary.images["nova"].status is status


@pytest.mark.parametrize(
    ("action", "status", "exit_code"),
    [
        (Action.REUSE, ImageStatus.OK, 0),
        (Action.RETAG, ImageStatus.SKIPPED, 0),
        (Action.BLOCKED, ImageStatus.BLOCKED, 1),
    ],
)
def test_an_image_without_steps_has_the_status_that_the_plan_gives_it(
    action: Action, status: ImageStatus, exit_code: int
) -> None:
    summary = summary_of({}, image("nova", action=action), phases=())
    assert summary.images["nova"].status is status
    assert summary.exit_code == exit_code


def test_the_digest_of_a_reused_image_is_the_one_it_is_known_by() -> None:
    digest = f"sha256:{'0' * 64}"
    reused = Reused(reference=f"reg/ns/nova@{digest}")
    summary = summary_of({("nova", BUILD): reused}, phases=(BUILD,))
    assert summary.images["nova"].digest == digest
    local = summary_of({("nova", BUILD): Reused(reference="reg/ns/nova:1")}, phases=(BUILD,))
    assert local.images["nova"].digest is None


@pytest.mark.parametrize(
    ("ends", "exit_code"),
    [
        ({BUILD: BROKEN}, 1),
        ({BUILD: Failed(message="mirror", exit_code=4)}, 1),
        ({BUILD: BUILT, TEST: BROKEN}, 1),
        ({BUILD: Blocked(by="elsewhere")}, 1),
        ({BUILD: BUILT, TEST: PASSED, PUSH: UNREACHABLE}, 4),
        ({BUILD: BUILT, TEST: PASSED, PUSH: PUSHED, TAG: UNREACHABLE}, 4),
        ({BUILD: Failed(message="ours", exit_code=70)}, 70),
    ],
)
def test_the_exit_code_is_that_of_the_phase_that_failed(
    ends: dict[Phase, Outcome], exit_code: int
) -> None:
    rest = {phase: Blocked(by="nova") for phase in PHASES}
    outcomes = {("nova", phase): end for phase, end in {**rest, **ends}.items()}
    summary = summary_of(outcomes)
    assert summary.exit_code == exit_code
    assert summary.status == "failed"


def test_a_build_that_fails_outweighs_a_push_that_fails() -> None:
    summary = summary_of(
        {**all_well("a"), ("a", PUSH): UNREACHABLE, ("b", BUILD): BROKEN}, image("a"), image("b")
    )
    assert summary.exit_code == 1


def test_ctrl_c_outweighs_a_failure_but_a_bug_outweighs_ctrl_c() -> None:
    broken: dict[tuple[str, Phase], Outcome] = {("nova", BUILD): BROKEN}
    assert summary_of(broken, interrupted=True).exit_code == 130
    ours: dict[tuple[str, Phase], Outcome] = {("nova", BUILD): Failed(message="x", exit_code=70)}
    assert summary_of(ours, interrupted=True).exit_code == 70


def test_a_fail_fast_run_has_the_exit_code_of_the_failure() -> None:
    summary = summary_of(
        {("bad", BUILD): BROKEN, **{("other", phase): STOPPED for phase in PHASES}},
        image("bad"),
        image("other"),
    )
    assert (summary.status, summary.exit_code) == ("failed", 1)


def test_an_optional_image_may_fail_but_what_must_not_be_missing_may_not_be_built_on_it() -> None:
    broken: dict[tuple[str, Phase], Outcome] = {
        ("extra", phase): Blocked(by="extra") for phase in PHASES
    }
    broken["extra", BUILD] = BROKEN
    extra = image("extra", optional=True)
    alone = summary_of({**broken, **all_well("nova")}, extra, image("nova"))
    assert (alone.status, alone.exit_code) == ("ok", 0)
    assert alone.images["extra"].status is ImageStatus.FAILED
    assert alone.images["extra"].optional
    child = {("child", phase): Blocked(by="extra") for phase in PHASES}
    assert summary_of({**broken, **child}, extra, image("child", "extra")).exit_code == 1


def test_the_bound_counts_builds_and_tests_but_no_pushes() -> None:
    summary = summary_of(
        {**all_well("base"), **all_well("nova"), **all_well("third")},
        image("base"),
        image("nova", "base"),
        image("third"),
    )
    # Twelve seconds of work for two jobs; the longest path is two builds and a test.
    assert summary.bound_seconds == 6.0
