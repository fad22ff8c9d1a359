"""The shell patterns of ``${name#pattern}``, ``${name%pattern}`` and ``${name/pattern/text}``.

A value of n characters has the positions 0 to n, kept as the bits of one number: what a pattern can
reach is found in a few steps for each of its parts, where a regular expression might try for ever.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from functools import lru_cache

_UNIT = re.compile(r"\\.|.", re.DOTALL)
_ANY = "?"
_ANY_NUMBER = "*"


class PatternError(ValueError):
    """The pattern holds an escape that means nothing."""


def trim_prefix(value: str, pattern: str, *, longest: bool) -> str:
    return _trim(value, _parts(pattern), longest=longest)


def trim_suffix(value: str, pattern: str, *, longest: bool) -> str:
    # Turned around before it is read: what a backslash at its end escapes is BuildKit's own idea.
    backwards = "".join(reversed(_UNIT.findall(pattern)))
    return _trim(value[::-1], _parts(backwards), longest=longest)[::-1]


def replace(value: str, pattern: str, replacement: str, *, every: bool) -> str:
    """The first or every longest match replaced, from the left."""
    parts, text = _parts(pattern), _Text(value)
    pieces: list[str] = []
    kept, at, last = 0, 0, -1
    while at <= len(value):
        end = text.ends(parts, at).bit_length() - 1
        # No match, or an empty one that touches the match before it, which Go leaves out.
        if end < 0 or end == at == last:
            at += 1
            continue
        pieces += (value[kept:at], replacement)
        kept = last = end
        if not every:
            break
        at = max(end, at + (end == at))
    return "".join([*pieces, value[kept:]])


def _trim(value: str, parts: Sequence[str], *, longest: bool) -> str:
    ends = _Text(value).ends(parts, 0)
    if not ends:
        return value
    end = ends.bit_length() if longest else (ends & -ends).bit_length()
    return value[end - 1 :]


@lru_cache(maxsize=256)
def _parts(pattern: str) -> Sequence[str]:
    """``*`` and ``?`` as they are, a character that stands for itself with a backslash before."""
    return tuple(
        unit if unit in (_ANY, _ANY_NUMBER) else f"\\{_literal(unit)}"
        for unit in _UNIT.findall(pattern)
    )


def _literal(unit: str) -> str:
    character = unit.removeprefix("\\")
    if character != unit and (not character or character not in "*?\\}/"):
        raise PatternError(f'"{unit}" is no escape of a pattern')
    return character


class _Text:
    def __init__(self, value: str) -> None:
        self._places: defaultdict[str, int] = defaultdict(int)
        for index, character in enumerate(value):
            self._places[character] |= 1 << index
        self._width = len(value)
        # As in Go's regular expressions, no wildcard stands for a line break.
        self._wild = ((1 << self._width) - 1) & ~self._places["\n"]

    def ends(self, parts: Sequence[str], start: int) -> int:
        """Where a match from ``start`` can end."""
        reached = 1 << start
        for part in parts:
            if part == _ANY_NUMBER:
                reached = self._spread(reached)
            else:
                places = self._wild if part == _ANY else self._places[part[1]]
                reached = (reached & places) << 1
        return reached

    def _spread(self, reached: int) -> int:
        """All that any number of wildcards reaches, by steps that double."""
        passable, step = self._wild, 1
        while step <= self._width:
            reached |= (reached & passable) << step
            passable &= passable >> step
            step *= 2
        return reached
