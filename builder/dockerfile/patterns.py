"""The shell patterns of ``${name#pattern}``, ``${name%pattern}`` and ``${name/pattern/text}``."""

from __future__ import annotations

import re
from functools import lru_cache


class PatternError(ValueError):
    """The pattern holds an escape that means nothing."""


def trim_prefix(value: str, pattern: str, *, longest: bool) -> str:
    found = _compile(pattern, longest).match(value)
    return value if found is None else value[found.end() :]


def trim_suffix(value: str, pattern: str, *, longest: bool) -> str:
    # A regular expression finds the leftmost match, never the shortest rightmost one: so turn both
    # around, and the suffix is a prefix.
    backwards = "".join(reversed(_units(pattern)))
    return trim_prefix(value[::-1], backwards, longest=longest)[::-1]


def replace(value: str, pattern: str, replacement: str, *, every: bool) -> str:
    expression = _compile(pattern, longest=True)
    pieces: list[str] = []
    done = 0
    last = -1
    for found in expression.finditer(value):
        # Go drops an empty match that touches the match before it, Python does not.
        if found.start() == found.end() == last:
            continue
        pieces += (value[done : found.start()], replacement)
        done = last = found.end()
        if not every:
            break
    pieces.append(value[done:])
    return "".join(pieces)


def _units(pattern: str) -> list[str]:
    """The characters of a pattern, an escape together with what it escapes."""
    return re.findall(r"\\.|.", pattern, re.DOTALL)


@lru_cache(maxsize=256)
def _compile(pattern: str, longest: bool) -> re.Pattern[str]:  # noqa: FBT001 - a cache key
    wildcard = {"*": ".*" if longest else ".*?", "?": "."}
    return re.compile("".join(wildcard.get(unit) or _literal(unit) for unit in _units(pattern)))


def _literal(unit: str) -> str:
    escaped = unit.removeprefix("\\")
    if escaped == unit:
        return re.escape(unit)
    if not escaped or escaped not in "*?\\}/":
        raise PatternError(f'"{unit}" is no escape of a pattern')
    return re.escape(escaped)
