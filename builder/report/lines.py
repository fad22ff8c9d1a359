"""What is told of a run line by line: shared by the plain report and the live one."""

from __future__ import annotations

from collections import Counter

from builder.core.events import (
    Blocked,
    Interrupted,
    Note,
    Phase,
    Reused,
    RunStarted,
    StepFinished,
    StepId,
    StepRetried,
    StepStarted,
)
from builder.core.plan import Action, Plan
from builder.report.outcome import outcome_text
from builder.report.text import clean, counted, duration

_IN_PLAN = {
    Action.BUILD: "to build",
    Action.ASSEMBLE: "to assemble",
    Action.RETAG: "to tag",
    Action.REUSE: "unchanged",
    Action.BLOCKED: "blocked",
}


class Lines:
    """Turns events into lines; what is only a consequence of another line is told once."""

    def __init__(self) -> None:
        self._width = 0
        self._told: set[str] = set()
        self._unchanged: set[str] = set()

    def run_started(self, event: RunStarted) -> str:
        self._width = max((len(step.image) for step in event.plan.steps), default=0)
        self._unchanged = {s.image for s in event.plan.steps if s.action is Action.REUSE}
        jobs = counted(event.jobs, "job")
        logs = clean(event.log_dir)
        return f"run {clean(event.run_id)}: {_plan_text(event.plan)}; {jobs}; logs in {logs}"

    def step_started(self, event: StepStarted) -> str | None:
        """None for an image that is only looked up, which the first line counts."""
        if event.step.phase is Phase.BUILD and event.step.image in self._unchanged:
            return None
        return f"{self._name(event.step)}  started"

    def step_retried(self, event: StepRetried) -> str:
        again = f"again in {duration(event.delay)}"
        message = clean(event.message)
        return f"{self._name(event.step)}  attempt {event.attempt} failed, {again}: {message}"

    def step_finished(self, event: StepFinished, *, started: bool) -> str | None:
        """None for what needs no line: a fate that other lines tell already."""
        name, outcome = self._name(event.step), event.outcome
        if isinstance(outcome, Reused) and event.step.image in self._unchanged:
            return None
        if started:
            return f"{name}  {outcome_text(outcome)}  ({duration(event.seconds)})"
        if isinstance(outcome, Interrupted):
            return None
        if isinstance(outcome, Blocked) and self._is_consequence(event.step, outcome):
            return None
        self._told.add(event.step.image)
        return f"{name}  {outcome_text(outcome)}"

    def note(self, event: Note) -> str:
        return f"note: {clean(event.text)}"

    def _is_consequence(self, step: StepId, outcome: Blocked) -> bool:
        # A missing image keeps all tags back: that is one fact, which the summary states.
        together = step.phase in (Phase.CLAIM, Phase.TAG, Phase.MOVE)
        return together or outcome.by == step.image or step.image in self._told

    def _name(self, step: StepId) -> str:
        return f"{step.phase.value:<5}  {clean(step.image):<{self._width}}"


def _plan_text(plan: Plan) -> str:
    counts = Counter(step.action for step in plan.steps)
    parts = [f"{counts[action]} {words}" for action, words in _IN_PLAN.items() if counts[action]]
    images = counted(len(plan.steps), "image")
    return f"{images}: {', '.join(parts)}" if parts else images
