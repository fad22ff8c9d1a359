"""Which task may start next, what the end of one means for the others, and when one is repeated."""

from __future__ import annotations

import graphlib
import heapq
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from enum import Enum

from msgspec import Struct

from builder.core.errors import Bug
from builder.core.events import Blocked, Failed, Interrupted, Outcome, Phase, StepId, Tagged

# 2 ** 64 seconds are for ever; a larger exponent would only overflow.
_LARGEST_EXPONENT = 64


class RetryPolicy(Struct, frozen=True, kw_only=True):
    """At most ``retries`` repetitions; the wait doubles from ``first`` to ``longest`` seconds."""

    retries: int = 3
    first: float = 2.0
    longest: float = 60.0

    def delay(self, attempt: int, chance: float) -> float:
        """Seconds to wait after ``attempt`` (from 1) failed; ``chance`` is in [0, 1).

        Half of the wait is left to chance, so that steps which one fault hit together do not come
        back together; the other half is certain, so that the far side is always given a rest.
        """
        ceiling = min(self.longest, self.first * 2.0 ** min(attempt - 1, _LARGEST_EXPONENT))
        return ceiling * (0.5 + 0.5 * chance)


Unstarted = Blocked | Interrupted
Settled = tuple[StepId, Unstarted]


class State(Enum):
    """Where a task is; it only ever goes on to a later one of these."""

    WAITING = "something that has to come before it has not ended"
    READY = "it starts as soon as its pool has room"
    RUNNING = "it was started, and has not ended"
    SETTLED = "it has an outcome, be it that it will never start"


class Task(Struct, frozen=True, kw_only=True):
    """One step and what has to happen before it.

    All of ``needs`` must have ended well; those of ``after`` must merely have ended. ``pool`` names
    the limit that the step counts against, ``weight`` is how many seconds it is expected to take.
    The failure of an ``optional`` step does not stop a fail-fast run.
    """

    id: StepId
    pool: str
    needs: frozenset[StepId] = frozenset()
    after: frozenset[StepId] = frozenset()
    weight: float = 0.0
    optional: bool = False

    @property
    def before(self) -> frozenset[StepId]:
        """All that must have ended, well or not."""
        return self.needs | self.after if self.after else self.needs


# A gate has no work of its own: it opens by itself once all before it has ended. It stands between
# all of one phase and all of the next, where direct edges would be as many as the square of them.
GATE = ""
_OPEN = Tagged(references=())


class Schedule:
    """The state of all steps of a run. ``limits`` says how many of each pool may run at once.

    Steps in the pool GATE are never started and never spoken of.
    """

    def __init__(
        self,
        steps: Iterable[Task],
        limits: Mapping[str, int],
        *,
        keep_going: bool = True,
    ) -> None:
        self._steps = _by_id(steps)
        _check_pools(self._steps.values(), limits)
        order = _in_order(self._steps)
        self._dependents = _dependents(self._steps)
        self._urgency = _urgency(self._steps, order, self._dependents)
        for dependents in self._dependents.values():
            dependents.sort(key=self._urgency.__getitem__)
        self._keep_going = keep_going
        self._free = dict(limits)
        self._waiting_for = {id_: len(step.before) for id_, step in self._steps.items()}
        self._ready: dict[str, list[tuple[_Urgency, StepId]]] = {pool: [] for pool in limits}
        self._running: set[StepId] = set()
        self._outcomes: dict[StepId, Outcome] = {}
        self._cancelled = False
        for id_ in [id_ for id_, count in self._waiting_for.items() if count == 0]:
            if self._is_gate(id_):
                self._settle(id_, _OPEN)
            elif id_ not in self._outcomes:
                self._make_ready(id_)

    @property
    def finished(self) -> bool:
        return len(self._outcomes) == len(self._steps)

    @property
    def cancelled(self) -> bool:
        """Whether nothing will be started any more, by ``cancel`` or by a fail-fast failure."""
        return self._cancelled

    @property
    def running(self) -> list[StepId]:
        return sorted(self._running, key=self._urgency.__getitem__)

    def runs(self, phase: Phase) -> bool:
        """Whether a step of this phase is running."""
        return any(id_.phase is phase for id_ in self._running)

    @property
    def outcomes(self) -> Mapping[StepId, Outcome]:
        return self._outcomes

    def step(self, id_: StepId) -> Task:
        return self._steps[id_]

    def state(self, id_: StepId) -> State:
        if id_ in self._outcomes:
            return State.SETTLED
        if id_ in self._running:
            return State.RUNNING
        return State.WAITING if self._waiting_for[id_] else State.READY

    def start_ready(self, may_start: Callable[[StepId], bool] | None = None) -> list[StepId]:
        """Start all that can start, longest remaining path first, and say what that was.

        ``may_start`` is asked last; where it refuses a step, its pool starts nothing this time, so
        that a light step never overtakes the one on which the end of the run depends.
        """
        started = []
        for pool, ready in self._ready.items():
            while ready and self._free[pool] > 0:
                _, id_ = ready[0]
                if may_start is not None and not may_start(id_):
                    break
                heapq.heappop(ready)
                self._free[pool] -= 1
                self._running.add(id_)
                started.append(id_)
        return started

    def finish(self, id_: StepId, outcome: Outcome) -> list[Settled]:
        """Settle a running step; what else is settled thereby, without ever having been started.

        ``outcome`` may itself be ``Blocked``: its dependents then are blocked by the same image.
        """
        if (state := self.state(id_)) is not State.RUNNING:
            raise Bug(f"{id_} ended, but it was not running: {state.value}")
        self._running.remove(id_)
        self._free[self._steps[id_].pool] += 1
        settled = self._settle(id_, outcome)
        failed = isinstance(outcome, Failed | Blocked)
        if failed and not self._keep_going and not self._steps[id_].optional:
            settled += self.cancel()
        return settled

    def cancel(self) -> list[Settled]:
        """Start nothing more: all that neither runs nor has ended is interrupted."""
        self._cancelled = True
        for ready in self._ready.values():
            ready.clear()
        rest = [i for i in self._steps if self.state(i) in (State.WAITING, State.READY)]
        rest.sort(key=self._urgency.__getitem__)
        outcome = Interrupted()
        self._outcomes.update((id_, outcome) for id_ in rest)
        return [(id_, outcome) for id_ in rest if not self._is_gate(id_)]

    def _settle(self, id_: StepId, outcome: Outcome) -> list[Settled]:
        self._outcomes[id_] = outcome
        settled: list[Settled] = []
        ended = deque([id_])
        while ended:
            done = ended.popleft()
            fate = _fate_of_dependents(done, self._outcomes[done])
            for child in self._dependents[done]:
                if child in self._outcomes:
                    continue
                if fate is not None and done in self._steps[child].needs:
                    self._outcomes[child] = fate
                    if not self._is_gate(child):
                        settled.append((child, fate))
                    ended.append(child)
                    continue
                self._waiting_for[child] -= 1
                if self._waiting_for[child] > 0:
                    continue
                if self._is_gate(child):
                    self._outcomes[child] = _OPEN
                    ended.append(child)
                else:
                    self._make_ready(child)
        return settled

    def _is_gate(self, id_: StepId) -> bool:
        return self._steps[id_].pool == GATE

    def _make_ready(self, id_: StepId) -> None:
        heapq.heappush(self._ready[self._steps[id_].pool], (self._urgency[id_], id_))


def bound(steps: Iterable[Task], jobs: int, seconds: Mapping[StepId, float]) -> float:
    """The least time in which ``jobs`` at once could have built and tested all of this."""
    making = {step.id: step for step in steps if step.id.phase in (Phase.BUILD, Phase.TEST)}
    path: dict[StepId, float] = {}
    for id_ in _in_order(making):
        longest = max((path[need] for need in making[id_].before if need in making), default=0.0)
        path[id_] = longest + seconds.get(id_, 0.0)
    total = sum(seconds.get(id_, 0.0) for id_ in making)
    return max(max(path.values(), default=0.0), total / jobs)


# Sorts the longest remaining path first, then by name.
_Urgency = tuple[float, str, str]


def _fate_of_dependents(id_: StepId, outcome: Outcome) -> Unstarted | None:
    """What becomes of the steps that need this one; None where it ended well."""
    if isinstance(outcome, Failed):
        return Blocked(by=id_.image)
    if isinstance(outcome, Blocked | Interrupted):
        return outcome
    return None


def _by_id(steps: Iterable[Task]) -> dict[StepId, Task]:
    known: dict[StepId, Task] = {}
    for step in steps:
        if step.id in known:
            raise Bug(f"{step.id} is scheduled twice")
        known[step.id] = step
    for step in known.values():
        if missing := sorted(id_ for id_ in step.before if id_ not in known):
            raise Bug(f"{step.id} needs {missing[0]}, which is not scheduled")
    return known


def _check_pools(steps: Iterable[Task], limits: Mapping[str, int]) -> None:
    for pool, limit in limits.items():
        if limit < 1:
            raise Bug(f'pool "{pool}" has a limit of {limit}, so its steps would never run')
    for step in steps:
        if step.pool != GATE and step.pool not in limits:
            raise Bug(f'{step.id} is in pool "{step.pool}", which has no limit')


def _in_order(steps: Mapping[StepId, Task]) -> list[StepId]:
    """Every step after those that come before it; steps that are not given are passed over."""
    before = {id_: [i for i in step.before if i in steps] for id_, step in steps.items()}
    try:
        return list(graphlib.TopologicalSorter(before).static_order())
    except graphlib.CycleError as error:
        path = " -> ".join(str(id_) for id_ in error.args[1])
        raise Bug(f"these steps wait for each other: {path}") from error


def _dependents(steps: Mapping[StepId, Task]) -> dict[StepId, list[StepId]]:
    dependents: dict[StepId, list[StepId]] = {id_: [] for id_ in steps}
    for step in steps.values():
        for before in step.before:
            dependents[before].append(step.id)
    return dependents


def _urgency(
    steps: Mapping[StepId, Task],
    order: list[StepId],
    dependents: Mapping[StepId, list[StepId]],
) -> dict[StepId, _Urgency]:
    path: dict[StepId, float] = {}
    for id_ in reversed(order):
        rest = max((path[child] for child in dependents[id_]), default=0.0)
        path[id_] = steps[id_].weight + rest
    return {id_: (-path[id_], id_.image, id_.phase.value) for id_ in steps}
