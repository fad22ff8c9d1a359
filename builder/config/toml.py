"""TOML by tomli: its mistakes, the lines of keys, and ``--set key=value`` laid over it.

tomli keeps no lines, so the line on which a key first stands is searched for. A file cut off after
a whole line either fails to parse, inside a multi-line string or array, or holds exactly what its
statements up to there say. Whatever such a prefix holds, every longer one holds as well. So the
statement that brings a key starts right after the longest prefix that parses and does not hold the
key, and a bisection finds it.

https://toml.io/en/v1.0.0
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

import tomli
from msgspec import Struct

from builder.core.errors import ConfigError, Location
from builder.core.settings.readers import FreeText, Key, KeyPath, dotted

_AT = re.compile(r" \(at (?:line (\d+), column (\d+)|end of document)\)$")


def parse(text: str, *, label: str) -> dict[str, Any]:
    """Read TOML; ``label`` is how messages name it.

    Raises:
        ConfigError: it is none.

    """
    try:
        return tomli.loads(text)
    except RecursionError as error:
        raise ConfigError("values are nested too deeply", where=Location(label)) from error
    except tomli.TOMLDecodeError as error:
        message = str(error)
        at = _AT.search(message)
        fact = message[: at.start()] if at else message
        line = int(at[1]) if at and at[1] else len(text.splitlines())
        column = f", column {at[2]}" if at and at[2] else ""
        raise ConfigError(
            f"not TOML: {fact[:1].lower()}{fact[1:]}{column}",
            where=Location(label, line),
            hint=_syntax_hint(fact),
        ) from error


def _syntax_hint(fact: str) -> str:
    if fact.startswith("Invalid value"):
        return 'text stands in quotes: key = "text"'
    if fact.startswith(("Cannot overwrite", "Cannot declare", "Cannot mutate", "Duplicate")):
        return "every key and every [section] can be given only once"
    return 'a line is a [section], a key = "value", or a # comment'


# -- lines --------------------------------------------------------------------------------------


def line_of(text: str, path: KeyPath) -> int | None:
    """The line, from 1, of the statement that brings ``path``, where an int is a list index.

    For a path that the file does not hold it is the line of the longest beginning that it does
    hold, and None where it holds none of it. ``text`` as a whole has to parse.
    """
    document = _document(text)
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
    return _holds(_document(text), path)


def _parseable_between(lines: Sequence[str], low: int, high: int) -> tuple[int, object] | None:
    """The prefix of a parseable number of lines strictly between, nearest to the middle."""
    for count in _from_the_middle(low, high):
        # The newline ends a "\r\n" that the split has taken apart; alone, "\r" is no TOML.
        prefix = _document("\n".join(lines[:count]) + "\n")
        if prefix is not None:
            return count, prefix
    return None


def _from_the_middle(low: int, high: int) -> Iterator[int]:
    middle = (low + high) // 2
    yield from range(middle, low, -1)
    yield from range(middle + 1, high)


def _document(text: str) -> object | None:
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


# -- --set --------------------------------------------------------------------------------------

_EXAMPLE = "for example: --set build.jobs=4"


class Override(Struct, frozen=True, kw_only=True):
    """``text`` is the argument as given."""

    text: str
    path: tuple[str, ...]
    value: object

    @property
    def location(self) -> Location:
        return Location(f"--set {self.text}")


def parse_override(text: str) -> Override:
    """Split ``key=value``; the value is TOML where it parses as such, else a string.

    Raises:
        ConfigError: there is no "=", or what stands before it is no TOML key.

    """
    # A quoted key may hold a "=", so the first one that leaves a whole key before it is taken.
    for index, char in enumerate(text):
        if char == "=" and (path := _key_path(text[:index])):
            value = _value(text[index + 1 :].strip())
            return Override(text=text, path=path, value=value)
    fact = "the key is no TOML key" if "=" in text else "there is no value"
    raise ConfigError(fact, where=Location(f"--set {text}"), hint=_EXAMPLE)


def apply_overrides(document: dict[str, Any], overrides: Sequence[Override]) -> None:
    """Set each value in the parsed document, later ones over earlier ones.

    Raises:
        ConfigError: a key on the way holds something else than a table.

    """
    for override in overrides:
        table = document
        for depth, key in enumerate(override.path[:-1], start=1):
            inner = table.setdefault(key, {})
            if not isinstance(inner, dict):
                raise ConfigError(
                    f"{dotted(override.path[:depth])} is no table", where=override.location
                )
            table = inner
        table[override.path[-1]] = override.value


def _key_path(key: str) -> tuple[str, ...]:
    if "\n" in key or "\r" in key:
        return ()
    try:
        table = tomli.loads(f"{key} = 0")
    except tomli.TOMLDecodeError:
        return ()
    path = []
    value: Any = table
    while isinstance(value, dict) and value:
        ((name, value),) = value.items()
        path.append(name)
    return tuple(path)


def _value(text: str) -> object:
    """A table as it is, so that later overrides can reach into it; all else with its text."""
    try:
        document = tomli.loads(f"value = {text}")
    except (tomli.TOMLDecodeError, RecursionError):
        return FreeText(text=text, value=text)
    if document.keys() != {"value"}:
        return FreeText(text=text, value=text)
    value = document["value"]
    return value if isinstance(value, dict) else FreeText(text=text, value=value)


class TomlText(Struct, frozen=True, kw_only=True):
    """Text that a Config was read from, and what was laid over it; an Origin."""

    label: str
    text: str = ""
    overrides: tuple[Override, ...] = ()

    def locate(self, *path: Key) -> Location:
        """The ``--set`` option that gives the value at the path, else the line in the file."""
        for override in reversed(self.overrides):
            if path[: len(override.path)] == override.path:
                return override.location
        if not holds(self.text, path):
            for override in self.overrides:
                if override.path[: len(path)] == path:
                    return override.location
        return Location(self.label, line_of(self.text, path))
