"""``--set key=value``: one value of build.toml from the command line."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import tomli
from msgspec import Struct

from builder.config.toml_lines import dotted
from builder.config.toml_values import FreeText
from builder.core.errors import ConfigError, Location

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
