"""In which order stacks come up, and what a rollout of one does next."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from enum import Enum
from graphlib import CycleError as GraphlibCycleError, TopologicalSorter
from typing import Protocol, TypeVar

from msgspec import Struct

from builder.core.deploy.records import Deployment
from builder.core.deploy.stack import (
    Compose,
    Container,
    changed_services,
    is_well,
    last_lines,
)
from builder.core.errors import (
    ConfigError,
    DeployError,
    InterruptedRunError,
    UsageError,
    did_you_mean,
)


class _Needing(Protocol):
    @property
    def needs(self) -> Sequence[str]: ...


StackT = TypeVar("StackT", bound=_Needing)


def chosen(stacks: Mapping[str, StackT], names: Sequence[str]) -> dict[str, StackT]:
    """The named stacks, all of them if none is named.

    Raises:
        UsageError: there is no stack of that name, or no stack at all.

    """
    if not stacks:
        raise UsageError(
            "build.toml has no stacks to deploy",
            hint='they are described by tables such as: [deploy.stacks.keystone], file = "…"',
        )
    for name in names:
        if name not in stacks:
            listed = ", ".join(sorted(stacks))
            raise UsageError(
                f'there is no stack "{name}"',
                hint=did_you_mean(name, stacks) or f"the stacks are {listed}",
            )
    return {name: stack for name, stack in stacks.items() if not names or name in names}


class StackOrder:
    """Hands out stacks as soon as those that they need are done, as far as these are chosen."""

    def __init__(self, stacks: Mapping[str, _Needing]) -> None:
        needs = {name: set(stack.needs).intersection(stacks) for name, stack in stacks.items()}
        self._dependents: dict[str, set[str]] = {name: set() for name in needs}
        for name, needed in needs.items():
            for other in needed:
                self._dependents[other].add(name)
        self._sorter = TopologicalSorter(needs)
        try:
            self._sorter.prepare()
        except GraphlibCycleError as error:
            path = " needs ".join(reversed(error.args[1]))
            raise ConfigError(f"stacks need each other in a circle: {path}") from error
        self._stopped: set[str] = set()

    def ready(self) -> list[str]:
        """Stacks that may start now, each of them once."""
        return sorted(self._sorter.get_ready())

    def done(self, name: str) -> None:
        self._sorter.done(name)

    def failed(self, name: str) -> None:
        """What needs it, directly or not, will never be started; see ``blocked``."""
        self._stopped |= self._above(name)
        self._sorter.done(name)

    def blocked(self, name: str) -> bool:
        return name in self._stopped

    def _above(self, name: str) -> set[str]:
        above: set[str] = set()
        waiting = [name]
        while waiting:
            for other in self._dependents[waiting.pop()] - above:
                above.add(other)
                waiting.append(other)
        return above

    @property
    def active(self) -> bool:
        return self._sorter.is_active()


def listed(stacks: Mapping[str, _Needing]) -> list[str]:
    """The names of the stacks in an order in which they can come up."""
    order = StackOrder(stacks)
    names: list[str] = []
    while order.active:
        for name in order.ready():
            names.append(name)
            order.done(name)
    return names


def ancestors(
    wanted: Mapping[str, Sequence[str]], known: Mapping[str, Sequence[str]]
) -> dict[str, tuple[str, ...]]:
    """Images that at least two of the wanted ones are built on, out of those that are known.

    Both map a reference to the digests of its layers, the lowest first.
    """
    stacks = [tuple(layers) for layers in wanted.values()]
    shared: dict[tuple[str, ...], str] = {}
    for name, layers in sorted(known.items()):
        own = tuple(layers)
        above = [stack for stack in stacks if len(stack) > len(own) and stack[: len(own)] == own]
        if own and name not in wanted and own not in stacks and len(above) > 1:
            shared.setdefault(own, name)
    return {name: layers for layers, name in shared.items()}


class PullOrder:
    """Hands out images as soon as none of their missing layers is on its way already.

    Of two pulls that need one layer the second would at best wait for the first, and in some
    engines fetches it once more. So images wait for what they share, and what most of them wait
    for comes first: a common ancestor, which has little besides.
    """

    def __init__(self, images: Mapping[str, Iterable[str]]) -> None:
        self._waiting = {name: frozenset(layers) for name, layers in images.items()}
        self._running: dict[str, frozenset[str]] = {}
        self._present: set[str] = set()

    @property
    def active(self) -> bool:
        return bool(self._waiting or self._running)

    def next(self) -> str | None:
        """An image to begin with now; None while all that are left have to wait."""
        moving = {layer for layers in self._running.values() for layer in layers} - self._present
        users = Counter(layer for layers in self._waiting.values() for layer in layers)
        free = [name for name, layers in self._waiting.items() if not layers & moving]
        if not free:
            return None
        name = min(free, key=lambda each: (-self._shared(self._waiting[each], users), each))
        self._running[name] = self._waiting.pop(name)
        return name

    def done(self, name: str) -> None:
        """The image is there, and so are its layers."""
        self._present |= self._running.pop(name)

    def _shared(self, layers: frozenset[str], users: Counter[str]) -> float:
        """By how many images, in the mean, each layer that is missing is waited for."""
        missing = layers - self._present
        return sum(users[layer] for layer in missing) / len(missing) if missing else 0.0


# The last lines of a log that are shown as a reason.
TAIL = 15


class Outcome(Enum):
    """How the rollout of a stack ended."""

    UNCHANGED = "unchanged"
    STARTED = "started"
    WOULD_START = "would be started"
    FAILED = "failed"
    ROLLED_BACK = "failed, rolled back"
    LOST = "failed, and rolling back failed too"
    BLOCKED = "not started"
    INTERRUPTED = "interrupted"

    @property
    def is_good(self) -> bool:
        return self in (Outcome.UNCHANGED, Outcome.STARTED, Outcome.WOULD_START)


class WayBack(Enum):
    """What is done with a stack that did not become well."""

    REMOVE = "remove"  # nothing ran before, so nothing runs; volumes stay as they are
    RESTORE = "restore"
    LEAVE = "leave"  # of what ran before too little is known; to take it down would be worse


class Rollout(Struct, frozen=True, kw_only=True):
    """How a stack fared; ``changed`` are the services that ran something else before."""

    stack: str
    outcome: Outcome
    changed: tuple[str, ...] = ()
    reasons: tuple[str, ...] = ()


class StackChange(Struct, frozen=True, kw_only=True):
    """From what was deployed, if anything was, to what is wanted."""

    stack: str
    wanted: Compose
    before: Deployment | None

    @property
    def restorable(self) -> Compose | None:
        """What ran before, if all of it is known."""
        return self.before.compose if self.before is not None and self.before.complete else None

    @property
    def services(self) -> tuple[str, ...]:
        """The services that are to run something else than before."""
        return changed_services(self.wanted, self.restorable)

    @property
    def may_be_none(self) -> bool:
        """Whether the record says that all of it runs already, so that a look is worth while."""
        # Of what was deployed from elsewhere only compose can tell whether it is the same.
        known = self.before is not None and not self.before.adopted
        return known and self.restorable == self.wanted

    @property
    def way_back(self) -> WayBack:
        """What to do if the stack does not become well."""
        if self.before is None:
            return WayBack.REMOVE
        return WayBack.RESTORE if self.before.complete else WayBack.LEAVE

    def ended(self, outcome: Outcome, reasons: Iterable[str] = ()) -> Rollout:
        """The rollout of this change."""
        return Rollout(
            stack=self.stack, outcome=outcome, changed=self.services, reasons=tuple(reasons)
        )

    def unchanged(self) -> Rollout:
        """The rollout where all of it runs already."""
        return Rollout(stack=self.stack, outcome=Outcome.UNCHANGED)

    def not_pulled(self, said: Sequence[str]) -> Rollout:
        """The rollout whose images cannot be pulled; nothing was touched."""
        reasons = ("its images cannot be pulled:", *last_lines(said, TAIL))
        return self.ended(Outcome.FAILED, reasons)

    def taken_back(self, reasons: Sequence[str], *, succeeded: bool) -> Rollout:
        """The rollout that failed, after its way back; ``succeeded``: that led where it should."""
        if self.way_back is WayBack.LEAVE:
            by = self.before.by if self.before is not None else ""
            why = f"what {by} deployed before is known here in parts only: it stays"
            return self.ended(Outcome.LOST, (*reasons, why))
        if not succeeded:
            return self.ended(Outcome.LOST, reasons)
        back = self.way_back is WayBack.RESTORE
        return self.ended(Outcome.ROLLED_BACK if back else Outcome.FAILED, reasons)


def unwell(compose: Compose, containers: Iterable[Container]) -> list[Container]:
    """The containers whose logs say why a stack is not well."""
    # What was never started waits for another, which is the one to name.
    started = (one for one in containers if one.state != "created")
    return [
        one for one in started if one.service in compose["services"] and not one.is_well(compose)
    ]


def log_reasons(container: Container, file: str, lines: Sequence[str]) -> list[str]:
    """How a container is, with its last words; all of them are kept in ``file``."""
    first = f"{container.service} is {container.condition}; its log is kept in {file}:"
    return [first, *(f"  {line}" for line in lines[-TAIL:])]


# --- words ---------------------------------------------------------------------------------------


def rollout_lines(rollout: Rollout, seconds: float) -> list[str]:
    """How a stack fared, in how many seconds, and why."""
    changed = f": {', '.join(rollout.changed)}" if rollout.changed else ""
    first = f"{rollout.stack:20} {rollout.outcome.value} ({seconds:.1f} s){changed}"
    return [first, *(f"  {line}" for line in rollout.reasons)]


def blocked_line(stack: str, *, interrupted: bool) -> str:
    """Why a stack was not started."""
    why = "interrupted" if interrupted else "a stack that it needs is not up"
    return f"{stack:20} not started: {why}"


def plan_line(
    stack: str,
    compose: Compose,
    before: Deployment | None,
    containers: Sequence[Container],
    *,
    gone: Sequence[str] = (),
    in_doubt: bool = False,
) -> str:
    """What a deployment would do with a stack.

    ``gone`` are containers that it would remove; ``in_doubt``: not all of it is what it looks like.
    """
    changed = changed_services(compose, before.compose if before else None)
    removed = f"; would be removed: {', '.join(gone)}" if gone else ""
    if not changed and is_well(compose, containers) and not in_doubt:
        return f"{stack:20} unchanged"
    return f"{stack:20} would be started: {', '.join(changed) or 'what is not well'}{removed}"


def sum_line(release: str, rollouts: Sequence[Rollout], seconds: float) -> str:
    """How many stacks run the release now."""
    good = sum(one.outcome.is_good for one in rollouts)
    return f"{release}: {good} of {len(rollouts)} stacks up, {seconds:.1f} s"


def exit_code(rollouts: Iterable[Rollout], *, interrupted: bool) -> int:
    """The exit code of a command that rolled these out."""
    if interrupted:
        return InterruptedRunError.exit_code
    return 0 if all(one.outcome.is_good for one in rollouts) else DeployError.exit_code
