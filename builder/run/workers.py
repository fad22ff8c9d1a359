"""The threads that do the work of steps: as many as ever run at once, and none has a say.

What they have to tell goes into one queue, which its owner reads.
"""

from __future__ import annotations

import queue
import threading
from collections import deque
from collections.abc import Callable, Mapping

from msgspec import Struct, field

from builder.core.engine.failure import BuildFailedError
from builder.core.errors import Bug, InterruptedRunError, OcbuildError
from builder.core.events import (
    Failed,
    Interrupted,
    Note,
    Outcome,
    StepId,
    StepOutput,
    StepProgress,
    StepRetried,
)
from builder.core.schedule import RetryPolicy
from builder.report.files import told_bug
from builder.system.resources import Clock

_TAIL_LINES = 20

Told = StepProgress | StepOutput | Note


class Context(Struct, frozen=True, kw_only=True):
    """What a work function is given besides its step.

    ``cancel`` is set when the work is to stop; it then raises InterruptedRunError. ``needed`` are
    the outcomes of the steps that had to end before this one. ``attempt`` counts from 1.
    """

    emit: Callable[[Told], None]
    cancel: threading.Event
    needed: Mapping[StepId, Outcome]
    attempt: int = 1


Work = Callable[[StepId, Context], Outcome]


class Ended(Struct, frozen=True, kw_only=True):
    step: StepId
    outcome: Outcome


Message = Told | StepRetried | Ended


def _held() -> threading.Lock:
    lock = threading.Lock()
    lock.acquire()
    return lock


class _Task(Struct, frozen=True, kw_only=True):
    """``working`` is held until the work has ended; an Event takes longer to be made."""

    step: StepId
    needed: Mapping[StepId, Outcome]
    working: threading.Lock = field(default_factory=_held)


class Workers:
    """The threads that do the work: as many as steps were ever running at once."""

    def __init__(self, work: Work, *, clock: Clock, retry: RetryPolicy) -> None:
        self.inbox: queue.SimpleQueue[Message] = queue.SimpleQueue()
        self.stop = threading.Event()
        self._work = work
        self._clock = clock
        self._retry = retry
        self._tasks: queue.SimpleQueue[_Task | None] = queue.SimpleQueue()
        self._running: dict[StepId, _Task] = {}
        self._threads = 0

    def start(self, step: StepId, needed: Mapping[StepId, Outcome]) -> None:
        task = _Task(step=step, needed=needed)
        self._running[step] = task
        if len(self._running) > self._threads:
            self._threads += 1
            # Daemons: one that hangs must not keep the process from ending after its report.
            threading.Thread(target=self._serve, daemon=True).start()
        self._tasks.put(task)

    def forget(self, step: StepId) -> None:
        self._running.pop(step)

    def stop_all(self, seconds: float) -> None:
        """Stop and wait, but no longer than ``seconds``; nothing is reported any more."""
        self.stop.set()
        deadline = self._clock.monotonic() + seconds
        for task in self._running.values():
            task.working.acquire(timeout=max(0.0, deadline - self._clock.monotonic()))

    def dismiss(self) -> None:
        """Let the threads end, each when its work has."""
        for _ in range(self._threads):
            self._tasks.put(None)

    def _serve(self) -> None:
        while task := self._tasks.get():
            threading.current_thread().name = str(task.step)
            self._run(task.step, task.needed)
            task.working.release()

    def _run(self, step: StepId, needed: Mapping[StepId, Outcome]) -> None:
        try:
            outcome = self._until_settled(step, needed)
        except BaseException as error:  # noqa: BLE001 - one image is lost to it, not the run
            told = told_bug(error)
            outcome = Failed(message=told.message, hint=told.hint, exit_code=told.exit_code)
        self.inbox.put(Ended(step=step, outcome=outcome))

    def _until_settled(self, step: StepId, needed: Mapping[StepId, Outcome]) -> Outcome:
        attempt = 1
        while True:
            outcome = self._attempt(step, needed, attempt)
            if not isinstance(outcome, Failed) or not outcome.transient:
                return outcome
            if attempt > self._retry.retries:
                return outcome
            if self.stop.is_set():
                return Interrupted()
            delay = self._retry.delay(attempt, self._clock.random())
            self.inbox.put(
                StepRetried(
                    step=step,
                    attempt=attempt,
                    delay=delay,
                    message=outcome.message,
                    at=self._clock.now(),
                )
            )
            if self._clock.wait(self.stop, delay):
                return Interrupted()
            attempt += 1

    def _attempt(self, step: StepId, needed: Mapping[StepId, Outcome], attempt: int) -> Outcome:
        tail: deque[str] = deque(maxlen=_TAIL_LINES)

        def emit(event: Told) -> None:
            if isinstance(event, StepOutput):
                tail.append(event.line)
            self.inbox.put(event)

        context = Context(emit=emit, cancel=self.stop, needed=needed, attempt=attempt)
        try:
            return self._work(step, context)
        except InterruptedRunError:
            return Interrupted()
        except Bug:
            raise
        except OcbuildError as error:
            return _failure(error, tuple(tail))


def _failure(error: OcbuildError, tail: tuple[str, ...]) -> Failed:
    command = None
    if isinstance(error, BuildFailedError):
        command, tail = error.command, error.log_tail or tail
    return Failed(
        message=error.message,
        exit_code=error.exit_code,
        where=error.where,
        command=command,
        log_tail=tail[-_TAIL_LINES:],
        hint=error.hint,
        transient=error.transient,
    )
