"""Which of two Debian versions is the newer one, as deb-version(7) and dpkg decide it."""

from __future__ import annotations

import re
from functools import cmp_to_key
from itertools import zip_longest

# The text before a number, and the number; both may be empty.
_PARTS = re.compile(r"([^0-9]*)([0-9]*)")


def compare(one: str, other: str) -> int:
    """Less than, equal to or greater than 0, as ``one`` is older, as old, or newer."""
    if one == other:
        return 0
    (epoch, upstream, revision), (epoch2, upstream2, revision2) = _split(one), _split(other)
    return (
        epoch - epoch2 or _compare_parts(upstream, upstream2) or _compare_parts(revision, revision2)
    )


key = cmp_to_key(compare)
"""For ``max`` and ``sorted``."""


def is_newer(one: str, other: str) -> bool:
    return compare(one, other) > 0


def _split(version: str) -> tuple[int, str, str]:
    epoch, colon, rest = version.strip().partition(":")
    if not colon or not epoch.isdecimal():
        epoch, rest = "0", version.strip()
    upstream, _, revision = rest.rpartition("-") if "-" in rest else (rest, "", "")
    return int(epoch), upstream, revision


def _compare_parts(one: str, other: str) -> int:
    pairs = zip_longest(_PARTS.findall(one), _PARTS.findall(other), fillvalue=("", ""))
    for (text, number), (text2, number2) in pairs:
        found = _compare_text(text, text2) or int(number or 0) - int(number2 or 0)
        if found:
            return found
    return 0


def _compare_text(one: str, other: str) -> int:
    """A tilde comes before the end of the text, the end before letters, letters before the rest."""
    for character, character2 in zip_longest(one, other, fillvalue=""):
        found = _order(character) - _order(character2)
        if found:
            return found
    return 0


def _order(character: str) -> int:
    if character == "~":
        return -1
    if not character:
        return 0
    return ord(character) if character.isalpha() else ord(character) + 256
