"""Drives a schedule with threads: one owner decides and reports, the workers only work.

Workers speak to the owner through one queue; the owner alone touches the schedule and the reporter,
so neither of them has a lock. One job takes the same path as many.
"""

from __future__ import annotations

import contextlib
import queue
import signal
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping

from msgspec import Struct

from builder.core.errors import Bug
from builder.core.events import (
    Interrupted,
    Note,
    Outcome,
    Phase,
    Report,
    StepFinished,
    StepId,
    StepStarted,
)
from builder.core.schedule import RetryPolicy, Schedule, Task
from builder.run.workers import Ended, Work, Workers
from builder.system.resources import Clock

# The owner also has to notice a signal and that memory has become free, which put nothing into its
# queue, so it looks this often.
_TICK_SECONDS = 0.1
# Engines give what they started ten seconds to end, so this is only ever reached by a fault.
_GRACE_SECONDS = 30.0
# To ask for room may be to ask the engine, so it is not done at every look.
_ROOM_SECONDS = 2.0
# What is there for one build is there for those that are started with it.
_ROOMY_SECONDS = 0.1


class Results(Struct, frozen=True, kw_only=True):
    """How every step ended. ``interrupted``: the user stopped the run before all had ended.

    ``abandoned`` are steps whose work did not stop in time and may still go on in this process.
    """

    finished: Mapping[StepId, StepFinished]
    interrupted: bool = False
    abandoned: frozenset[StepId] = frozenset()


def execute(
    steps: Iterable[Task],
    work: Work,
    *,
    limits: Mapping[str, int],
    clock: Clock,
    report: Report,
    cancel: threading.Event,
    kill: threading.Event,
    retry: RetryPolicy | None = None,
    keep_going: bool = True,
    room: Callable[[], str | None] | None = None,
    grace: float = _GRACE_SECONDS,
) -> Results:
    """Work off all steps; every one of them is settled in what is returned.

    ``cancel`` stops the run: nothing is started any more, what runs is told to stop and given
    ``grace`` seconds. ``kill`` ends the wait. ``room`` gives a reason why no further build should
    be started just now, or None; a build is started in spite of it when no other one runs.

    A work function returns an outcome or raises an OcbuildError, which fails its step; a transient
    failure is repeated as ``retry`` says. So does whatever else it raises, as a bug of ours.
    """
    schedule = Schedule(steps, limits, keep_going=keep_going)
    workers = Workers(work, clock=clock, retry=retry or RetryPolicy())
    owner = _Owner(
        schedule, workers, clock=clock, report=report, cancel=cancel, kill=kill, room=room
    )
    return owner.run(grace)


@contextlib.contextmanager
def signals(cancel: threading.Event, kill: threading.Event) -> Iterator[None]:
    """Let the first SIGINT or SIGTERM set ``cancel`` and the second ``kill``; main thread only.

    The third has its default effect: it ends a process that does not even get to its report.
    """
    numbers = (signal.SIGINT, signal.SIGTERM)

    # Each event is set at most once and by nobody else, so that a handler which interrupts another
    # can never wait for the lock that the other one holds.
    def second(*_: object) -> None:
        for each in numbers:
            signal.signal(each, signal.SIG_DFL)
        kill.set()

    def first(*_: object) -> None:
        for each in numbers:
            signal.signal(each, second)
        cancel.set()

    before = {number: signal.signal(number, first) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            # None is what a handler is that was not installed from Python.
            signal.signal(number, signal.SIG_DFL if handler is None else handler)


class _Owner:
    """The one thread that touches schedule and reporter."""

    def __init__(
        self,
        schedule: Schedule,
        workers: Workers,
        *,
        clock: Clock,
        report: Report,
        cancel: threading.Event,
        kill: threading.Event,
        room: Callable[[], str | None] | None,
    ) -> None:
        self._schedule = schedule
        self._workers = workers
        self._clock = clock
        self._report = report
        self._cancel = cancel
        self._kill = kill
        self._room = room
        self._crowded_until: float | None = None
        self._roomy_until = 0.0
        self._started: dict[StepId, float] = {}
        self._finished: dict[StepId, StepFinished] = {}
        self._abandoned: set[StepId] = set()
        self._deadline: float | None = None

    def run(self, grace: float) -> Results:
        try:
            while True:
                self._heed_cancel()
                self._heed_deadline(grace)
                self._start()
                if self._schedule.finished:
                    break
                self._hear()
        except BaseException:
            self._workers.stop_all(grace)
            raise
        finally:
            self._workers.dismiss()
        return self._results()

    def _heed_cancel(self) -> None:
        if self._cancel.is_set() and not self._schedule.cancelled:
            for step, outcome in self._schedule.cancel():
                self._settled(step, outcome)

    def _heed_deadline(self, grace: float) -> None:
        """Once nothing more is started, what runs is stopped; and left behind if it does not."""
        if not self._schedule.cancelled or not (running := self._schedule.running):
            return
        if self._deadline is None:
            self._deadline = self._clock.monotonic() + grace
            self._workers.stop.set()
            self._say_stopping(running)
        elif self._kill.is_set() or self._clock.monotonic() >= self._deadline:
            names = ", ".join(str(step) for step in running)
            self._report(Note(text=f"not waiting any longer for: {names}"))
            for step in running:
                self._abandoned.add(step)
                self._finish(step, Interrupted())

    def _say_stopping(self, running: list[StepId]) -> None:
        names = ", ".join(str(step) for step in running)
        if self._cancel.is_set():
            again = "press Ctrl-C again to leave them behind"
            self._report(Note(text=f"interrupted; stopping {names}; {again}"))
        else:
            self._report(Note(text=f"stopping {names} because of the failure"))

    def _start(self) -> None:
        for step in self._schedule.start_ready(self._may_start):
            before = self._schedule.step(step).before
            needed = {id_: self._schedule.outcomes[id_] for id_ in sorted(before)}
            self._started[step] = self._clock.monotonic()
            self._report(StepStarted(step=step, at=self._clock.now()))
            self._workers.start(step, needed)

    def _may_start(self, step: StepId) -> bool:
        if self._room is None or step.phase is not Phase.BUILD:
            return True
        # Where no build runs, none will end and make room, so waiting could last for ever.
        if not self._schedule.runs(Phase.BUILD):
            return True
        now = self._clock.monotonic()
        if self._crowded_until is not None and now < self._crowded_until:
            return False
        if now < self._roomy_until:
            return True
        reason = self._room()
        if reason is None:
            self._crowded_until = None
            self._roomy_until = now + _ROOMY_SECONDS
            return True
        if self._crowded_until is None:
            self._report(Note(text=f"no further build is started for now: {reason}"))
        self._crowded_until = now + _ROOM_SECONDS
        return False

    def _hear(self) -> None:
        if not self._schedule.running:
            raise Bug("steps are left, but none of them can run")
        try:
            message = self._workers.inbox.get(timeout=_TICK_SECONDS)
        except queue.Empty:
            return
        if not isinstance(message, Ended):
            self._report(message)
            return
        self._workers.forget(message.step)
        self._finish(message.step, message.outcome)

    def _finish(self, step: StepId, outcome: Outcome) -> None:
        seconds = self._clock.monotonic() - self._started[step]
        others = self._schedule.finish(step, outcome)
        self._settled(step, outcome, seconds)
        for other, fate in others:
            self._settled(other, fate)

    def _settled(self, step: StepId, outcome: Outcome, seconds: float = 0.0) -> None:
        event = StepFinished(step=step, outcome=outcome, seconds=seconds, at=self._clock.now())
        self._finished[step] = event
        self._report(event)

    def _results(self) -> Results:
        return Results(
            finished=self._finished,
            interrupted=self._cancel.is_set()
            and any(isinstance(end.outcome, Interrupted) for end in self._finished.values()),
            abandoned=frozenset(self._abandoned),
        )
