"""How far a run is and how long it will still take: a value that each event advances."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from msgspec import Struct, field
from msgspec.structs import replace

from builder.core.events import (
    Blocked,
    Event,
    Failed,
    Interrupted,
    Outcome,
    Phase,
    RunStarted,
    StepFinished,
    StepId,
    StepProgress,
    StepRetried,
    StepStarted,
)
from builder.core.plan import Action, Plan
from builder.core.text import duration, size

_DONE = {Phase.BUILD: "built", Phase.TEST: "tested", Phase.PUSH: "pushed", Phase.TAG: "tagged"}
_MADE = (Action.BUILD, Action.ASSEMBLE)


class Doing(Struct, frozen=True, kw_only=True):
    """What a running step is at."""

    since: float
    text: str = ""


class RunProgress(Struct, frozen=True, kw_only=True):
    """The state of a run. ``expected`` are the seconds that the build of each image should take."""

    expected: Mapping[str, float] = field(default_factory=dict)
    plan: Plan | None = None
    jobs: int = 1
    steps: tuple[StepId, ...] = ()
    started: float = 0.0
    running: Mapping[StepId, Doing] = field(default_factory=dict)
    ended: Mapping[StepId, Outcome] = field(default_factory=dict)


def advance(progress: RunProgress, event: Event) -> RunProgress:
    """The state after the event."""
    running = progress.running
    match event:
        case RunStarted():
            return replace(
                progress,
                plan=event.plan,
                jobs=event.jobs,
                steps=event.steps,
                started=event.at,
            )
        case StepStarted():
            return replace(progress, running={**running, event.step: Doing(since=event.at)})
        case StepProgress() if event.step in running:
            return _doing(progress, event.step, _progress_text(event))
        case StepRetried() if event.step in running:
            text = f"waits {duration(event.delay)} before attempt {event.attempt + 1}"
            return _doing(progress, event.step, text)
        case StepFinished():
            rest = {step: doing for step, doing in running.items() if step != event.step}
            ended = {**progress.ended, event.step: event.outcome}
            return replace(progress, running=rest, ended=ended)
    return progress


def remaining(progress: RunProgress, now: float) -> float | None:
    """Seconds that the builds will still take; None where nothing is known to reckon with.

    The larger of two bounds, as for a finished run: the work that is left divided by the jobs, and
    the longest path through what is left.
    """
    if progress.plan is None or not progress.expected:
        return None
    left: dict[str, float] = {}
    path: dict[str, float] = {}
    for step in progress.plan.steps:
        build = StepId(Phase.BUILD, step.image)
        if step.action not in _MADE or build in progress.ended:
            continue
        seconds = progress.expected.get(step.image, 0.0)
        if build in progress.running:
            seconds = max(0.0, seconds - (now - progress.running[build].since))
        left[step.image] = seconds
        path[step.image] = seconds + max((path.get(p, 0.0) for p in step.parents), default=0.0)
    return max(sum(left.values()) / progress.jobs, max(path.values(), default=0.0))


def _doing(progress: RunProgress, step: StepId, text: str) -> RunProgress:
    doing = replace(progress.running[step], text=text)
    return replace(progress, running={**progress.running, step: doing})


def _progress_text(event: StepProgress) -> str:
    if event.current is None:
        return event.text
    amount = size(event.current)
    if event.total:
        amount = f"{amount} of {size(event.total)}"
    return f"{event.text} {amount}"


def progress_text(progress: RunProgress, now: float) -> str:
    """How much is done of each phase, what failed, and the time."""
    ends = progress.ended.items()
    bad = (Failed, Blocked, Interrupted)
    total = Counter(step.phase for step in progress.steps)
    done = Counter(step.phase for step, end in ends if not isinstance(end, bad))
    failed = {step.image for step, end in ends if isinstance(end, Failed)}
    blocked = {s.image for s, end in ends if isinstance(end, Blocked) and s.phase is Phase.BUILD}
    left = remaining(progress, now)
    parts = [
        *(f"{done[phase]}/{total[phase]} {word}" for phase, word in _DONE.items() if total[phase]),
        f"{len(failed)} FAILED" if failed else "",
        f"{len(blocked)} blocked" if blocked else "",
        duration(now - progress.started),
        f"about {duration(left)} left" if left else "",
    ]
    return ", ".join(part for part in parts if part)
