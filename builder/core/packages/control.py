"""Debian's control files and versions, as values.

deb822(5) is the format: https://manpages.debian.org/stable/dpkg-dev/deb822.5.en.html; the order of
versions is that of deb-version(7): https://manpages.debian.org/stable/dpkg-dev/deb-version.7.en.html
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import cmp_to_key
from itertools import zip_longest

_SIGNED = "-----BEGIN PGP SIGNED MESSAGE-----"
_SIGNATURE = "-----BEGIN PGP SIGNATURE-----"
# The text before a number, and the number; both may be empty.
_PARTS = re.compile(r"([^0-9]*)([0-9]*)")


def paragraphs(text: str) -> Iterator[Mapping[str, str]]:
    """Field names in lower case; the lines that continue a value are kept, without their blank."""
    fields: dict[str, str] = {}
    name = ""
    for line in text.split("\n"):
        if not line.strip():
            if fields:
                yield fields
            fields, name = {}, ""
        elif line[0] in " \t":
            if name:
                fields[name] += "\n" + line[1:]
        elif not line.startswith("#"):
            key, colon, value = line.partition(":")
            if colon:
                name = key.strip().lower()
                fields[name] = value.strip()
    if fields:
        yield fields


def unsigned(text: str) -> str:
    """The text that a clear-signed message signs; what is not signed comes back as it is.

    Only what stands inside of the signed part counts: anybody could have put the rest around it.
    """
    begin, armour, rest = text.partition(_SIGNED)
    if not armour or begin.strip():
        return text
    # The headers of the armour end with a blank line.
    _, _, body = rest.replace("\r\n", "\n").partition("\n\n")
    body, _, _ = body.partition(f"\n{_SIGNATURE}")
    return "\n".join(line.removeprefix("- ") for line in body.split("\n"))


# -- versions ----------------------------------------------------------------------------------


def compare_versions(one: str, other: str) -> int:
    """Less than, equal to or greater than 0, as ``one`` is older, as old, or newer."""
    if one == other:
        return 0
    (epoch, upstream, revision), (epoch2, upstream2, revision2) = _split(one), _split(other)
    return (
        epoch - epoch2 or _compare_parts(upstream, upstream2) or _compare_parts(revision, revision2)
    )


version_key = cmp_to_key(compare_versions)
"""For ``max`` and ``sorted``."""


def is_newer(one: str, other: str) -> bool:
    return compare_versions(one, other) > 0


def _split(version: str) -> tuple[int, str, str]:
    epoch, colon, rest = version.strip().partition(":")
    if not colon or not epoch.isdecimal():
        epoch, rest = "0", version.strip()
    upstream, _, revision = rest.rpartition("-") if "-" in rest else (rest, "", "")
    return int(epoch), upstream, revision


def _compare_parts(one: str, other: str) -> int:
    pairs = zip_longest(_PARTS.findall(one), _PARTS.findall(other), fillvalue=("", ""))
    for (text, number), (text2, number2) in pairs:
        order = _compare_text(text, text2) or int(number or 0) - int(number2 or 0)
        if order:
            return order
    return 0


def _compare_text(one: str, other: str) -> int:
    """A tilde comes before the end of the text, the end before letters, letters before the rest."""
    for character, character2 in zip_longest(one, other, fillvalue=""):
        order = _order(character) - _order(character2)
        if order:
            return order
    return 0


def _order(character: str) -> int:
    if character == "~":
        return -1
    if not character:
        return 0
    return ord(character) if character.isalpha() else ord(character) + 256
