"""In which order a host pulls images: what many share first, and no layer by two pulls at once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence


def ancestors(
    wanted: Mapping[str, Sequence[str]], known: Mapping[str, Sequence[str]]
) -> dict[str, tuple[str, ...]]:
    """Images that at least two of the wanted ones are built on, out of those that are known.

    Both map a reference to the digests of its layers, the lowest first.
    """
    stacks = [tuple(layers) for layers in wanted.values()]
    found: dict[tuple[str, ...], str] = {}
    for name, layers in sorted(known.items()):
        own = tuple(layers)
        above = [stack for stack in stacks if len(stack) > len(own) and stack[: len(own)] == own]
        if own and name not in wanted and own not in stacks and len(above) > 1:
            found.setdefault(own, name)
    return {name: layers for layers, name in found.items()}


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
