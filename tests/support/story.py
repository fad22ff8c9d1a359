"""One run with a bit of everything, as events with fixed times: what reporters are shown."""

from __future__ import annotations

from builder.core.errors import Location
from builder.core.events import (
    Blocked,
    Built,
    Event,
    Failed,
    Note,
    Outcome,
    Phase,
    Pushed,
    Reused,
    RunFinished,
    RunStarted,
    StepFinished,
    StepId,
    StepOutput,
    StepProgress,
    StepRetried,
    StepStarted,
    Summary,
)
from builder.core.plan import Action, Decision, Plan
from builder.core.schedule import GATE
from builder.core.summary import summarise
from builder.core.tasks import connect
from tests.support.decisions import decision

START = 1_700_000_000.0
BUILD, TEST, PUSH, TAG = Phase.BUILD, Phase.TEST, Phase.PUSH, Phase.TAG
PHASES = (BUILD, PUSH, TAG)


def image(
    name: str, *parents: str, action: Action = Action.BUILD, optional: bool = False
) -> Decision:
    return decision(
        name,
        *parents,
        action=action,
        reasons=('selected by "all"',),
        key=f"{name}-key",
        repository=f"reg/ns/{name}",
        tag="1-c0ffee",
        optional=optional,
    )


PLAN = Plan(
    commit="c0ffee",
    dirty=False,
    steps=(
        image("common", action=Action.REUSE),
        image("openstackbase", "common"),
        image("nova", "openstackbase"),
        image("nova-api", "nova"),
        image("nova-compute", "nova"),
    ),
)
STEPS = connect(PLAN, {step.image: PHASES for step in PLAN.steps}, {})
BROKEN = Failed(
    message="RUN apt-get install nvoa: failed with exit code 100",
    exit_code=1,
    where=Location("openstack/nova/Dockerfile", 9),
    command="RUN apt-get install \\\n    nvoa",
    log_tail=("Reading package lists...", "E: Unable to locate package \x1b[31mnvoa\x1b[0m [red]"),
    hint="no base has that package",
)


def started(phase: Phase, name: str, at: float) -> Event:
    return StepStarted(step=StepId(phase, name), at=START + at)


def finished(
    phase: Phase, name: str, outcome: Outcome, seconds: float = 0.0, *, at: float = 0.0
) -> StepFinished:
    return StepFinished(step=StepId(phase, name), outcome=outcome, seconds=seconds, at=START + at)


def _events() -> tuple[Event, ...]:
    base, nova = StepId(BUILD, "openstackbase"), StepId(BUILD, "nova")
    blocked = Blocked(by="nova")
    return (
        RunStarted(
            run_id="r1",
            plan=PLAN,
            jobs=2,
            log_dir="logs",
            at=START,
            steps=tuple(step.id for step in STEPS if step.pool != GATE),
        ),
        started(BUILD, "common", 0),
        finished(BUILD, "common", Reused(reference="reg/ns/common:1"), at=0),
        started(BUILD, "openstackbase", 0),
        StepProgress(step=base, text="[2/7] RUN apt-get update"),
        StepOutput(step=base, line="Get:1 http://mirror"),
        StepRetried(step=base, attempt=1, delay=2.5, message="mirror: 503", at=START + 5),
        Note(text="the mirror is slow"),
        finished(
            BUILD,
            "openstackbase",
            Built(image_id="sha256:1", size=120_300_000, engine="buildx"),
            41,
            at=41,
        ),
        started(BUILD, "nova", 41),
        started(PUSH, "openstackbase", 41),
        StepProgress(
            step=StepId(PUSH, "openstackbase"), text="uploading", current=500_000, total=64_000_000
        ),
        finished(PUSH, "openstackbase", Pushed(digest="sha256:d1", uploaded=64_000_000), 9, at=50),
        *(StepOutput(step=nova, line=line) for line in BROKEN.log_tail),
        finished(BUILD, "nova", BROKEN, 12, at=53),
        finished(BUILD, "nova-api", blocked, at=53),
        finished(BUILD, "nova-compute", blocked, at=53),
        *(
            finished(phase, name, blocked, at=53)
            for name in ("nova", "nova-api", "nova-compute")
            for phase in (PUSH, TAG)
        ),
        started(PUSH, "common", 53),
        finished(PUSH, "common", Pushed(digest="sha256:d0", uploaded=0), 1, at=54),
        finished(TAG, "common", blocked, at=54),
        finished(TAG, "openstackbase", blocked, at=54),
    )


_TOLD = _events()
SUMMARY: Summary = summarise(
    PLAN,
    {event.step: event for event in _TOLD if isinstance(event, StepFinished)},
    run_id="r1",
    steps=STEPS,
    jobs=2,
    started=START,
    seconds=54.0,
    log_of=lambda name: f"logs/{name}.log",
)
EVENTS: tuple[Event, ...] = (*_TOLD, RunFinished(summary=SUMMARY, at=START + 54))
