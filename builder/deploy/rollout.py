"""Stacks to their new state: pull, start, wait for health; or back to what ran before."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import Protocol

from msgspec import Struct, field

from builder.core.deploy.projects import leftovers
from builder.core.deploy.records import Deployment
from builder.core.deploy.rollout import (
    TAIL,
    Outcome,
    Rollout,
    StackChange,
    StackOrder,
    WayBack,
    blocked_line,
    log_reasons,
    rollout_lines,
    unwell,
)
from builder.core.deploy.stack import Compose, Container, is_well, last_lines, may_become_well
from builder.core.errors import OcbuildError
from builder.core.settings.sections import Host
from builder.deploy.project import DeployedProject, LocalRecords
from builder.system.resources import Clock, SystemClock

# The last lines of a container that are kept in a file.
_KEPT = 5000
# How many seconds pass between two looks at what is starting.
_PAUSE = 0.5
# So often it is looked whether that stays well which compose has not found so.
_LOOKS = 5

Say = Callable[[str], None]


class RolloutEngine(Protocol):
    """What a rollout needs of the engine of its host; timeouts are in seconds."""

    @property
    def host(self) -> Host: ...
    def cancelled(self) -> bool: ...
    def pull(self, stack: Compose, on_line: Say, timeout: float) -> bool: ...
    def up(self, stack: Compose, on_line: Say, timeout: float) -> bool: ...
    def down(self, stack: Compose, on_line: Say) -> bool: ...
    def remove(self, containers: Sequence[str]) -> None: ...
    def restart(self, containers: Sequence[str]) -> None: ...
    def without_network(self, stack: Compose) -> Sequence[str]: ...
    def containers(self, stack: Compose) -> tuple[Container, ...]: ...
    def logs(self, container: str, *, tail: int) -> list[str]: ...


class Roller(Struct, frozen=True, kw_only=True):
    """What all rollouts of a run share; ``timeout`` is in seconds, ``now`` tells RFC 3339."""

    records: LocalRecords
    say: Say
    now: Callable[[], str]
    timeout: float
    by: str = ""
    clock: Clock = field(default_factory=SystemClock)
    new_id: Callable[[], str] = lambda: secrets.token_hex(8)
    detail: Say = lambda _line: None

    def roll(self, stack: str, engine: RolloutEngine, compose: Compose, release: str) -> Rollout:
        """Bring the stack up and see that it is well.

        Raises:
            DeployError: the engine cannot be asked.

        """
        change = StackChange(stack=stack, wanted=compose, before=self.records.current(stack))
        # Whatever runs after a change that was cut off, the record does not tell.
        is_settled = self.records.intended(stack) is None
        if is_settled and change.may_be_none and self._is_well(engine, compose):
            self.records.renamed(stack, release)
            return change.unchanged()
        heard: list[str] = []
        pulled = engine.pull(compose, heard.append, self.timeout)
        if engine.cancelled():
            return change.ended(Outcome.INTERRUPTED)
        if not pulled:
            return change.not_pulled(heard)
        heard.clear()
        deployment = self._deployment(engine, compose, release)
        # Before the note, for it is by the last one that they are known to be ours.
        self._clear(stack, engine, compose)
        self.records.intend(stack, deployment)
        up = self._up(engine, compose, heard.append)
        if engine.cancelled():
            # Neither finished nor taken back: the next deployment goes on from here.
            return change.ended(Outcome.INTERRUPTED)
        containers = self._settle(engine, compose, doubtful=not up)
        # Compose calls it a failure, too, where a job has ended well for which nothing waits.
        if is_well(compose, containers):
            self.records.deployed(stack, deployment)
            return change.ended(Outcome.STARTED)
        reasons = self._reasons(stack, engine, unwell(compose, containers))
        succeeded = self._go_back(stack, engine, change)
        if succeeded:
            self.records.settled(stack)
        return change.taken_back(reasons or last_lines(heard, TAIL), succeeded=succeeded)

    def _deployment(self, engine: RolloutEngine, compose: Compose, release: str) -> Deployment:
        return Deployment(
            release=release,
            at=self.now(),
            host=engine.host.name,
            compose=compose,
            by=self.by,
            id=self.new_id(),
        )

    def _reasons(self, stack: str, engine: RolloutEngine, unwell: list[Container]) -> list[str]:
        """What is not well, with its last words; all of them are kept in a file."""
        reasons: list[str] = []
        for container in unwell:
            lines = engine.logs(container.name, tail=_KEPT)
            file = self.records.keep_log(stack, container.service, lines)
            reasons += log_reasons(container, str(file), lines)
        return reasons

    def _clear(self, stack: str, engine: RolloutEngine, compose: Compose) -> None:
        """Remove what we have started and what is no part of the stack any more."""
        known = self.records.known(stack)
        if any(known):
            engine.remove(leftovers(engine.containers(compose), compose, known))

    def _is_well(self, engine: RolloutEngine, compose: Compose) -> bool:
        well = is_well(compose, engine.containers(compose))
        return well and not engine.without_network(compose)

    def _up(self, engine: RolloutEngine, compose: Compose, on_line: Say) -> bool:
        """Start what differs, and what compose finds unchanged though its network is gone.

        Returns whether compose found all of it well.
        """
        up = engine.up(compose, on_line, self.timeout)
        if not engine.cancelled():
            engine.restart(engine.without_network(compose))
        return up

    def _settle(
        self, engine: RolloutEngine, compose: Compose, *, doubtful: bool
    ) -> tuple[Container, ...]:
        """The containers, once time alone makes none of them well.

        Where it is ``doubtful`` that they are well, they have to be so for a while: what ends and
        is started again, over and over, looks well for a moment each time.
        """
        end = self.clock.monotonic() + self.timeout
        containers = engine.containers(compose)
        while may_become_well(compose, containers) and self.clock.monotonic() < end:
            if engine.cancelled():
                break
            self.clock.wait(threading.Event(), _PAUSE)
            containers = engine.containers(compose)
        for _ in range(_LOOKS if doubtful else 0):
            if engine.cancelled() or unwell(compose, containers):
                break
            self.clock.wait(threading.Event(), _PAUSE)
            containers = engine.containers(compose)
        return containers

    def _go_back(self, stack: str, engine: RolloutEngine, change: StackChange) -> bool:
        """Do what the change says of its way back; whether that succeeded."""
        old = change.restorable
        if change.way_back is WayBack.REMOVE:
            return engine.down(change.wanted, self.detail)
        if old is None:
            return False
        self.say(f"{old['name']}: going back to what ran before")
        self._clear(stack, engine, old)
        up = self._up(engine, old, self.detail)
        return is_well(old, self._settle(engine, old, doubtful=not up))


def roll_in_order(
    project: DeployedProject, roll: Callable[[str], Rollout], say: Say
) -> list[Rollout]:
    """Roll out stacks side by side, each as soon as those that it needs are up."""
    order, clock = StackOrder(project.stacks), project.clock
    finished: list[Rollout] = []
    with ThreadPoolExecutor(max_workers=max(1, len(project.stacks))) as pool:
        running: dict[Future[Rollout], tuple[str, float]] = {}
        while order.active:
            for name in order.ready():
                if order.blocked(name) or project.cancel.is_set():
                    finished.append(Rollout(stack=name, outcome=Outcome.BLOCKED))
                    say(blocked_line(name, interrupted=not order.blocked(name)))
                    order.failed(name)
                    continue
                running[pool.submit(roll, name)] = (name, clock.monotonic())
            if not running:
                continue
            done, _ = wait(running, return_when=FIRST_COMPLETED)
            for future in done:
                name, begun = running.pop(future)
                rollout = _result(name, future)
                finished.append(rollout)
                for line in rollout_lines(rollout, clock.monotonic() - begun):
                    say(line)
                (order.done if rollout.outcome.is_good else order.failed)(name)
    return finished


def _result(name: str, future: Future[Rollout]) -> Rollout:
    try:
        return future.result()
    except OcbuildError as error:
        return Rollout(stack=name, outcome=Outcome.FAILED, reasons=(str(error),))


def rolled_out(
    project: DeployedProject,
    roller: Roller,
    wanted: Mapping[str, tuple[Compose, str]],
    note: Callable[[str], None],
) -> list[Rollout]:
    """Bring each stack to what is wanted, of which release; ``note`` hears of each at once."""

    def roll(stack: str) -> Rollout:
        compose, release = wanted[stack]
        rollout = roller.roll(stack, project.engine(stack), compose, release)
        note(stack)
        return rollout

    return roll_in_order(project, roll, roller.say)
