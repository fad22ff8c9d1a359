"""A run in words: each event as a line, how far it is, each outcome, and the summary at the end."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping

from msgspec import Struct, field
from msgspec.structs import replace

from builder.core.events import (
    Blocked,
    Built,
    Claimed,
    Event,
    Failed,
    ImageResult,
    ImageStatus,
    Interrupted,
    Note,
    Outcome,
    Phase,
    Pushed,
    Reused,
    RunStarted,
    StepFinished,
    StepId,
    StepProgress,
    StepRetried,
    StepStarted,
    Summary,
    Tagged,
    Tested,
)
from builder.core.plan import Action, Plan
from builder.core.text import clean, clean_lines, columns, counted, duration, size

_IN_PLAN = {
    Action.BUILD: "to build",
    Action.ASSEMBLE: "to assemble",
    Action.RETAG: "to tag",
    Action.REUSE: "unchanged",
    Action.BLOCKED: "blocked",
}
_LONGEST_COMMAND = 8
_DONE = {
    Action.BUILD.value: "built",
    Action.ASSEMBLE.value: "assembled",
    Action.RETAG.value: "tagged anew",
    Action.REUSE.value: "unchanged",
}
_PHASE_WORDS = {
    Phase.BUILD: "built",
    Phase.TEST: "tested",
    Phase.PUSH: "pushed",
    Phase.TAG: "tagged",
}
_MADE = (Action.BUILD, Action.ASSEMBLE)


# --- outcomes -------------------------------------------------------------------------------------


def outcome_text(outcome: Outcome) -> str:  # noqa: C901, PLR0911 - one return for each outcome
    """One clean line; a failure in capitals, so that it is found without colour."""
    match outcome:
        case Built(cached=True):
            return "ok, nothing had to run"
        case Built():
            return "ok"
        case Reused():
            return "unchanged"
        case Tested():
            return f"ok, {counted(outcome.commands, 'command')}"
        case Pushed():
            return f"ok, {size(outcome.uploaded)} uploaded"
        case Claimed():
            return "ok, nobody else publishes"
        case Tagged():
            return f"ok, {clean(', '.join(outcome.references))}"
        case Failed():
            return f"FAILED: {failure_line(outcome)}"
        case Blocked():
            return f"blocked by {clean(outcome.by)}"
        case Interrupted():
            return "interrupted"


def failure_line(failed: Failed) -> str:
    """``path:line: message`` on one line."""
    message = clean(failed.message.strip())
    return f"{clean(str(failed.where))}: {message}" if failed.where else message


# --- lines ----------------------------------------------------------------------------------------


class RunLines:
    """Turns events into lines; what only follows from another line is left out."""

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


# --- summary --------------------------------------------------------------------------------------


def summary_text(summary: Summary) -> str:
    """All of it, plain text without colour, no newline at the end."""
    failed = [image for image in summary.images.values() if image.error is not None]
    parts = [
        "\n".join(_table(summary)),
        "\n".join(_blocked(summary)),
        "\n".join(f"note: {clean(remark)}" for remark in summary.remarks),
        "\n".join([*_times(summary), last_line(summary)]),
        *("\n".join(_failure(image, image.error)) for image in failed if image.error),
    ]
    return "\n\n".join(part for part in parts if part)


def last_line(summary: Summary) -> str:
    """How many of what, what was published, and the exit code."""
    results = summary.images.values()
    counts: Counter[str] = Counter(_word(result) for result in results)
    order = [*_DONE.values(), "failed", "blocked", "skipped", "interrupted"]
    parts = [f"{counts[word]} {word}" for word in order if counts[word]]
    text = ", ".join(parts) or "nothing to do"
    optional = sum(r.optional and r.status is not ImageStatus.OK for r in results)
    if optional:
        text += f" ({optional} of them optional)"
    if summary.release:
        text += f"; published {clean(summary.release)}"
    elif summary.exit_code and not any(result.refs for result in results):
        text += "; nothing was published"
    return f"{summary.status}: {text}; exit code {summary.exit_code}"


def _word(result: ImageResult) -> str:
    if result.status is not ImageStatus.OK:
        return str(result.status.value)
    return _DONE.get(result.action, result.action)


def _table(summary: Summary) -> Iterator[str]:
    """What was worked on, in build order; all other images are counted or grouped elsewhere."""
    rows = [
        (
            clean(result.image),
            result.action,
            "FAILED" if result.status is ImageStatus.FAILED else _status(result),
            duration(result.seconds) if result.seconds else "-",
            size(result.size) if result.size is not None else "-",
        )
        for result in summary.images.values()
        if _has_row(result)
    ]
    if rows:
        yield from columns([("image", "action", "status", "time", "size"), *rows], right=(3, 4))


def _has_row(result: ImageResult) -> bool:
    if result.status is ImageStatus.OK:
        return result.action != Action.REUSE.value or result.pushed_bytes is not None
    return result.status is ImageStatus.FAILED or result.seconds > 0


def _status(result: ImageResult) -> str:
    return f"{result.status.value}, cached" if result.cached else result.status.value


def _blocked(summary: Summary) -> Iterator[str]:
    groups: dict[str, list[str]] = {}
    for result in summary.images.values():
        if result.status is ImageStatus.BLOCKED:
            groups.setdefault(result.blocked_by or "", []).append(clean(result.image))
    for by, images in groups.items():
        reason = f"blocked by {clean(by)}" if by else "blocked"
        yield f"{reason}: {', '.join(images)}"


def _times(summary: Summary) -> Iterator[str]:
    if summary.bound_seconds > 0:
        bound = duration(summary.bound_seconds)
        yield f"took {duration(summary.seconds)}; these builds needed {bound} at the least"


def _failure(result: ImageResult, failed: Failed) -> Iterator[str]:
    optional = " (optional)" if result.optional else ""
    yield f"FAILED {clean(result.image)}{optional}"
    yield failure_line(failed)
    yield from _command(failed)
    if failed.log_tail:
        yield "the end of its output:"
        yield from (f"  | {clean(line)}" for line in failed.log_tail)
    if result.log:
        yield f"log:  {clean(result.log)}"
    hints = [*clean_lines(failed.hint or ""), _again(result)]
    yield from (f"hint: {hint}" for hint in hints if hint)


def _command(failed: Failed) -> Iterator[str]:
    """The instruction as it is written, unless the message has all of it."""
    command = failed.command or ""
    if " ".join(command.split()) in failed.message:
        return
    lines = clean_lines(command)
    yield from (f"  {line}" for line in lines[:_LONGEST_COMMAND])
    if len(lines) > _LONGEST_COMMAND:
        yield f"  ({counted(len(lines) - _LONGEST_COMMAND, 'more line')})"


def _again(result: ImageResult) -> str:
    return f"`ocbuild build {clean(result.image)}` repeats only this image"


def plan_listing(plan: Plan) -> str:
    """What ``ocbuild plan`` shows: a line for each image, then remarks and a count."""
    width = max((len(step.image) for step in plan.steps), default=0)
    lines = [
        f"{step.action.value:8} {step.image:{width}}  {'; '.join(step.reasons)}"
        for step in plan.steps
    ]
    lines += [f"note: {remark}" for remark in plan.remarks]
    counts = Counter(step.action for step in plan.steps)
    at = f", at {plan.commit[:7]}" if plan.commit else ""
    dirt = " with uncommitted edits" if plan.dirty else ""
    assembled = counts[Action.ASSEMBLE]
    others = f", {assembled} to assemble" if assembled else ""
    builds = f"{counts[Action.BUILD]} to build{others}"
    return "\n".join([*lines, f"{len(plan.steps)} images, {builds}{at}{dirt}"]) + "\n"


# --- progress -----------------------------------------------------------------------------------


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
        *(
            f"{done[phase]}/{total[phase]} {word}"
            for phase, word in _PHASE_WORDS.items()
            if total[phase]
        ),
        f"{len(failed)} FAILED" if failed else "",
        f"{len(blocked)} blocked" if blocked else "",
        duration(now - progress.started),
        f"about {duration(left)} left" if left else "",
    ]
    return ", ".join(part for part in parts if part)
