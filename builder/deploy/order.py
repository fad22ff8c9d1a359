"""In which order stacks come up, and which of them is held up by which failure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from graphlib import CycleError as GraphlibCycleError, TopologicalSorter

from builder.core.errors import ConfigError, UsageError, did_you_mean
from builder.core.settings.sections import Stack


def chosen(stacks: Mapping[str, Stack], names: Sequence[str]) -> dict[str, Stack]:
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


class Order:
    """Hands out stacks as soon as those that they need are done, as far as these are chosen."""

    def __init__(self, stacks: Mapping[str, Stack]) -> None:
        needs = {name: _needs(stack, stacks) for name, stack in stacks.items()}
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
        found: set[str] = set()
        waiting = [name]
        while waiting:
            for other in self._dependents[waiting.pop()] - found:
                found.add(other)
                waiting.append(other)
        return found

    @property
    def active(self) -> bool:
        return self._sorter.is_active()


def _needs(stack: Stack, stacks: Iterable[str]) -> set[str]:
    return set(stack.needs).intersection(stacks)
