"""Orders of what goes on side by side: stacks after what they need, images by their layers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from graphlib import CycleError as GraphlibCycleError, TopologicalSorter
from typing import Protocol, TypeVar

from builder.core.errors import ConfigError, UsageError, did_you_mean


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
