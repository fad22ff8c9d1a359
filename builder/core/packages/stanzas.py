"""Reads Debian's control files: paragraphs of fields, as in dpkg's status and apt's Release."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

_SIGNED = "-----BEGIN PGP SIGNED MESSAGE-----"
_SIGNATURE = "-----BEGIN PGP SIGNATURE-----"


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
