"""The line of a TOML file on which a key first stands, for messages; tomli itself keeps no lines.

A file cut off after a whole line either fails to parse, inside a multi-line string or array, or
holds exactly what its statements up to there say. Whatever such a prefix holds, every longer one
holds as well. So the statement that brings a key starts right after the longest prefix that parses
and does not hold the key, and a bisection finds it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, TypeAlias

import tomli

from builder.core.text import quoted_key

Key: TypeAlias = str | int
KeyPath: TypeAlias = tuple[Key, ...]


def line_of(text: str, path: KeyPath) -> int | None:
    """The line, from 1, of the statement that brings ``path``, where an int is a list index.

    For a path that the file does not hold it is the line of the longest beginning that it does
    hold, and None where it holds none of it. ``text`` as a whole has to parse.
    """
    document = _parse(text)
    while path and not _holds(document, path):
        path = path[:-1]
    if not path:
        return None
    # Only "\n" ends a line of TOML; str.splitlines would end one at a form feed, too.
    lines = text.split("\n")
    before, with_key = 0, len(lines)
    while (middle := _parseable_between(lines, before, with_key)) is not None:
        count, prefix = middle
        if _holds(prefix, path):
            with_key = count
        else:
            before = count
    return before + 1


def holds(text: str, path: KeyPath) -> bool:
    """Whether the file gives a value for exactly this path."""
    return _holds(_parse(text), path)


def _parseable_between(lines: Sequence[str], low: int, high: int) -> tuple[int, object] | None:
    """The prefix of a parseable number of lines strictly between, nearest to the middle."""
    for count in _from_the_middle(low, high):
        # The newline ends a "\r\n" that the split has taken apart; alone, "\r" is no TOML.
        prefix = _parse("\n".join(lines[:count]) + "\n")
        if prefix is not None:
            return count, prefix
    return None


def _from_the_middle(low: int, high: int) -> Iterator[int]:
    middle = (low + high) // 2
    yield from range(middle, low, -1)
    yield from range(middle + 1, high)


def _parse(text: str) -> object | None:
    try:
        return tomli.loads(text)
    except tomli.TOMLDecodeError:
        return None


def _holds(value: Any, path: KeyPath) -> bool:
    for key in path:
        if not isinstance(value, (dict, list)):
            return False
        try:
            value = value[key]  # type: ignore[index]  # a key of the wrong kind is a TypeError
        except (KeyError, IndexError, TypeError):
            return False
    return True


def dotted(path: KeyPath) -> str:
    """The path as one would write it in TOML: ``groups."x.y".also[0]``."""
    text = ""
    for key in path:
        if isinstance(key, int):
            text += f"[{key}]"
        else:
            text += ("." if text else "") + quoted_key(key)
    return text
