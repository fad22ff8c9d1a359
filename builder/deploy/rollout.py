"""One stack to its new state: pull, start, wait for health; or back to what ran before."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable, Mapping
from enum import Enum
from typing import Any, Protocol

from msgspec import Struct

from builder.core.settings.sections import Host
from builder.deploy.compose import Container
from builder.deploy.records import Deployment, Records

TAIL = 15
_KEPT = 5000


class Engine(Protocol):
    """What a rollout needs of the engine of its host."""

    @property
    def host(self) -> Host: ...
    def cancelled(self) -> bool: ...
    def pull(
        self, stack: Mapping[str, Any], on_line: Callable[[str], None], timeout: float
    ) -> bool: ...
    def up(
        self, stack: Mapping[str, Any], on_line: Callable[[str], None], timeout: float
    ) -> bool: ...
    def down(self, stack: Mapping[str, Any], on_line: Callable[[str], None]) -> bool: ...
    def containers(self, stack: Mapping[str, Any]) -> tuple[Container, ...]: ...
    def logs(self, container: str, *, tail: int) -> list[str]: ...


class Outcome(Enum):
    UNCHANGED = "unchanged"
    STARTED = "started"
    WOULD_START = "would be started"
    FAILED = "failed"
    ROLLED_BACK = "failed, rolled back"
    LOST = "failed, and so did the way back"
    BLOCKED = "not started"
    INTERRUPTED = "interrupted"

    @property
    def good(self) -> bool:
        return self in (Outcome.UNCHANGED, Outcome.STARTED, Outcome.WOULD_START)


class Rollout(Struct, frozen=True, kw_only=True):
    """How a stack fared; ``changed`` are the services that ran something else before."""

    stack: str
    outcome: Outcome
    changed: tuple[str, ...] = ()
    reasons: tuple[str, ...] = ()


def runs_once(compose: Mapping[str, Any], service: str) -> bool:
    """A job, which ends: whatever is to run on is restarted by the engine."""
    restart = compose["services"][service].get("restart", "no")
    return restart in ("no", "")


def is_well(compose: Mapping[str, Any], containers: Iterable[Container]) -> bool:
    """Every service of the stack has a container, and each of them is as it should be."""
    found = {one.service: one for one in containers}
    services = compose["services"]
    return found.keys() == services.keys() and all(
        one.well(once=runs_once(compose, name)) for name, one in found.items()
    )


def changed_services(now: Mapping[str, Any], before: Mapping[str, Any] | None) -> tuple[str, ...]:
    """Services that are new or described differently; with the owner of a group, all of it."""
    services: Mapping[str, Any] = now["services"]
    old: Mapping[str, Any] = before["services"] if before else {}
    changed = {name for name, service in services.items() if old.get(name) != service}
    for name, service in services.items():
        owner = str(service.get("network_mode", "")).removeprefix("service:")
        if owner in changed:
            changed.add(name)
    return tuple(sorted(changed))


class Roller(Struct, frozen=True, kw_only=True):
    """What all rollouts of a run share."""

    records: Records
    say: Callable[[str], None]
    now: Callable[[], str]
    timeout: float
    by: str = ""
    new_id: Callable[[], str] = lambda: secrets.token_hex(8)
    detail: Callable[[str], None] = lambda _line: None

    def roll(self, stack: str, engine: Engine, compose: Mapping[str, Any], release: str) -> Rollout:
        """Bring the stack up and see that it is well.

        Raises:
            DeployError: the engine cannot be asked.

        """
        before = self.records.current(stack)
        old = before.compose if before is not None and before.whole else None
        changed = changed_services(compose, old)
        # Of what was deployed from elsewhere only compose can tell whether it is the same.
        known = before is not None and not before.adopted
        if known and old == compose and is_well(compose, engine.containers(compose)):
            if before is not None and before.release != release:
                self.records.renamed(stack, release)
            return Rollout(stack=stack, outcome=Outcome.UNCHANGED)
        heard: list[str] = []
        pulled = engine.pull(compose, heard.append, self.timeout)
        if engine.cancelled():
            return Rollout(stack=stack, outcome=Outcome.INTERRUPTED, changed=changed)
        if not pulled:
            reasons = ("its images cannot be pulled:", *_last(heard))
            return Rollout(stack=stack, outcome=Outcome.FAILED, changed=changed, reasons=reasons)
        heard.clear()
        up = engine.up(compose, heard.append, self.timeout)
        if engine.cancelled():
            # Neither finished nor taken back: the next deployment goes on from here.
            return Rollout(stack=stack, outcome=Outcome.INTERRUPTED, changed=changed)
        containers = engine.containers(compose)
        if up and is_well(compose, containers):
            deployment = Deployment(
                release=release,
                at=self.now(),
                host=engine.host.name,
                compose=compose,
                by=self.by,
                id=self.new_id(),
            )
            self.records.deployed(stack, deployment)
            return Rollout(stack=stack, outcome=Outcome.STARTED, changed=changed)
        reasons = self._why(stack, engine, compose, containers) or tuple(_last(heard))
        if before is not None and old is None:
            # To take it down would be worse than what it is.
            reasons += (f"what {before.by} deployed before is known here in parts only: it stays",)
            outcome = Outcome.LOST
        else:
            outcome = self._go_back(engine, compose, old)
        return Rollout(stack=stack, outcome=outcome, changed=changed, reasons=reasons)

    def _why(
        self,
        stack: str,
        engine: Engine,
        compose: Mapping[str, Any],
        containers: Iterable[Container],
    ) -> tuple[str, ...]:
        """What is not well, with its last words; all of them are kept in a file."""
        said: list[str] = []
        for one in containers:
            # What was never started waits for another, which is the one to name.
            if one.state == "created" or one.service not in compose["services"]:
                continue
            if one.well(once=runs_once(compose, one.service)):
                continue
            lines = engine.logs(one.name, tail=_KEPT)
            file = self.records.keep_log(stack, one.service, lines)
            said.append(f"{one.service} is {one.condition}; its log is kept in {file}:")
            said += [f"  {line}" for line in lines[-TAIL:]]
        return tuple(said)

    def _go_back(
        self, engine: Engine, compose: Mapping[str, Any], old: Mapping[str, Any] | None
    ) -> Outcome:
        if old is None:
            # Nothing ran before, so nothing runs; volumes stay as they are.
            return Outcome.FAILED if engine.down(compose, self.detail) else Outcome.LOST
        self.say(f"{old['name']}: going back to what ran before")
        back = engine.up(old, self.detail, self.timeout)
        well = back and is_well(old, engine.containers(old))
        return Outcome.ROLLED_BACK if well else Outcome.LOST


def _last(lines: list[str]) -> list[str]:
    return [f"  {line}" for line in lines if line.strip()][-TAIL:]
