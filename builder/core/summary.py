"""What became of every image of a run, and its exit code: a pure function of plan and events."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from builder.core.errors import Bug, BuildError, InterruptedRunError, PublishError
from builder.core.events import (
    ASSEMBLER,
    Blocked,
    Built,
    Claimed,
    Failed,
    ImageResult,
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
)
from builder.core.plan import Block, Decision, Plan, Retag, Reuse
from builder.core.reference import Reference
from builder.core.schedule import Task, bound

_MAKING = (Phase.BUILD, Phase.TEST)
# What is done for all images together, once all are published: that one of them missed it is the
# release's misfortune, not the image's.
_TOGETHER = (Phase.CLAIM, Phase.TAG, Phase.MOVE)


def summarise(
    plan: Plan,
    finished: Mapping[StepId, StepFinished],
    *,
    run_id: str,
    steps: Sequence[Task],
    jobs: int,
    started: float,
    seconds: float,
    interrupted: bool = False,
    log_of: Callable[[str], str] | None = None,
    release: str | None = None,
) -> Summary:
    """Sum up a run; steps that are missing in ``finished`` count as interrupted.

    ``log_of`` says where the log of an image is, if there is one.

    An image that was made, but was not tagged because another one is missing, is ok and has no
    refs. Where there was nothing to publish, its refs are the names that the engine gave it.
    """
    ends = _by_image(steps, finished)
    images = {
        step.image: _image_result(step, ends.get(step.image, {}), log_of) for step in plan.steps
    }
    exit_code = _exit_code(plan, ends, interrupted=interrupted)
    spent = {id_: end.seconds for id_, end in finished.items()}
    return Summary(
        run_id=run_id,
        commit=plan.commit,
        dirty=plan.dirty,
        status=_status(exit_code),
        started=started,
        seconds=seconds,
        bound_seconds=bound(steps, jobs, spent),
        exit_code=exit_code,
        images=images,
        release=release,
        remarks=plan.remarks,
    )


_Ends = Mapping[Phase, StepFinished]


def _by_image(
    steps: Sequence[Task], finished: Mapping[StepId, StepFinished]
) -> dict[str, dict[Phase, StepFinished]]:
    ends: dict[str, dict[Phase, StepFinished]] = {}
    order = tuple(Phase)
    for step in sorted(steps, key=lambda step: order.index(step.id.phase)):
        never = StepFinished(step=step.id, outcome=Interrupted(), seconds=0.0, at=0.0)
        ends.setdefault(step.id.image, {})[step.id.phase] = finished.get(step.id, never)
    return ends


def _image_result(step: Decision, ends: _Ends, log_of: Callable[[str], str] | None) -> ImageResult:
    outcomes = [end.outcome for end in ends.values()]
    status, error, blocked_by = _fate(step, ends)
    built = next((o for o in outcomes if isinstance(o, Built)), None)
    pushed = next((o for o in outcomes if isinstance(o, Pushed)), None)
    # Steps that never ran have taken no time and left no log.
    ran = any(end.seconds > 0 or _was_started(end.outcome) for end in ends.values())
    return ImageResult(
        image=step.image,
        action=step.action.value,
        status=status,
        reasons=step.reasons,
        key=step.key,
        digest=_digest(outcomes) or _published(step) or None,
        refs=_refs(step, ends, status),
        seconds=sum(end.seconds for phase, end in ends.items() if phase in _MAKING),
        size=built.size if built else None,
        pushed_bytes=pushed.uploaded if pushed else None,
        log=log_of(step.image) if log_of is not None and ran else None,
        error=error,
        blocked_by=blocked_by,
        optional=step.optional,
        cached=built is not None and built.cached,
        assembled=built is not None and built.engine == ASSEMBLER,
    )


def _was_started(outcome: Outcome) -> bool:
    return not isinstance(outcome, Blocked | Interrupted)


def _fate(step: Decision, ends: _Ends) -> tuple[ImageStatus, Failed | None, str | None]:
    """Status, error and the image to blame; a failure outweighs all else."""
    for end in ends.values():
        if isinstance(end.outcome, Failed):
            return ImageStatus.FAILED, end.outcome, None
    own = [end.outcome for phase, end in ends.items() if phase not in _TOGETHER]
    for outcome in own:
        if isinstance(outcome, Blocked):
            return ImageStatus.BLOCKED, None, outcome.by
    if any(isinstance(outcome, Interrupted) for outcome in own):
        return ImageStatus.INTERRUPTED, None, None
    if isinstance(step, Block):
        return ImageStatus.BLOCKED, None, step.by
    if not own and not isinstance(step, Reuse):
        return _fate_of_retag(ends), None, None
    return ImageStatus.OK, None, None


def _fate_of_retag(ends: _Ends) -> ImageStatus:
    """An image of which nothing had to be made is only as good as its tags."""
    outcomes = [end.outcome for end in ends.values()]
    if outcomes and all(isinstance(outcome, Tagged | Claimed) for outcome in outcomes):
        return ImageStatus.OK
    if any(isinstance(outcome, Interrupted) for outcome in outcomes):
        return ImageStatus.INTERRUPTED
    return ImageStatus.SKIPPED


def _refs(step: Decision, ends: _Ends, status: ImageStatus) -> tuple[str, ...]:
    if isinstance(step, Reuse) and not step.selected:
        return (step.reference,)  # where its children found it: it got no name in this run
    if any(phase not in _MAKING for phase in ends):
        tagged = (end.outcome for end in ends.values() if isinstance(end.outcome, Tagged))
        return tuple(reference for outcome in tagged for reference in outcome.references)
    return step.refs if status is ImageStatus.OK else ()


def _published(step: Decision) -> str:
    """The digest that the registry had before the run."""
    return step.digest if isinstance(step, Reuse | Retag) else ""


def _digest(outcomes: Sequence[Outcome]) -> str | None:
    for outcome in outcomes:
        if isinstance(outcome, Tagged) and outcome.digest:
            return outcome.digest
    for outcome in outcomes:
        if isinstance(outcome, Pushed):
            return outcome.digest
    for outcome in outcomes:
        if isinstance(outcome, Reused) and "@" in outcome.reference:
            return Reference.parse(outcome.reference).digest
    return None


def _exit_code(plan: Plan, ends: Mapping[str, _Ends], *, interrupted: bool) -> int:
    codes = {
        _code(step, phase, end.outcome)
        for step in plan.steps
        for phase, end in ends.get(step.image, {}).items()
    }
    if any(isinstance(step, Block) and not step.optional for step in plan.steps):
        codes.add(BuildError.exit_code)
    stopped = InterruptedRunError.exit_code
    if interrupted and Bug.exit_code not in codes:
        return stopped
    # Fail-fast interrupts as well, so on its own account that comes last.
    order = (Bug.exit_code, BuildError.exit_code, PublishError.exit_code, stopped)
    return next((code for code in order if code in codes), 0)


def _code(step: Decision, phase: Phase, outcome: Outcome) -> int:
    """What one outcome makes of the whole run."""
    if isinstance(outcome, Failed) and outcome.exit_code == Bug.exit_code:
        return Bug.exit_code
    if step.optional:
        return 0
    if isinstance(outcome, Failed):
        return BuildError.exit_code if phase in _MAKING else PublishError.exit_code
    if isinstance(outcome, Blocked) and phase not in _TOGETHER:
        return BuildError.exit_code
    return InterruptedRunError.exit_code if isinstance(outcome, Interrupted) else 0


def _status(exit_code: int) -> str:
    if exit_code == InterruptedRunError.exit_code:
        return "interrupted"
    return "failed" if exit_code else "ok"
