"""Debian's control files and apt's sources, read and written."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cmp_to_key
from itertools import zip_longest

from msgspec import Struct
from msgspec.structs import replace

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


_ONE_LINE = re.compile(
    r"deb\s+(?:\[(?P<options>[^\]]*)\]\s+)?(?!cdrom:)(?P<uri>[a-z][a-z0-9+]*:\S*)\s+(?P<rest>\S.*)"
)
_MIRROR_FILE = re.compile(r"mirror(?:\+file)?:(?://)?(?P<path>/\S+)")
_POCKETS = ("", "-updates", "-security")
# These are built from what was uploaded last: there is nothing for a pocket to update.
_ROLLING = ("sid", "unstable")


class AptSource(Struct, frozen=True, kw_only=True):
    """One enabled ``deb`` entry; ``signed_by`` is a path, several paths, or an inline key."""

    uris: tuple[str, ...]
    suites: tuple[str, ...]
    components: tuple[str, ...]
    signed_by: str = ""
    trusted: bool = False

    @property
    def keyrings(self) -> tuple[str, ...]:
        """The key files that ``signed_by`` names; none where it holds the key itself."""
        words = [] if "\n" in self.signed_by else re.split(r"[\s,]+", self.signed_by)
        return tuple(word for word in words if word.startswith("/"))


def parse_one_line(text: str) -> tuple[AptSource, ...]:
    """The enabled ``deb`` entries of a ``*.list`` file."""
    sources = []
    for line in text.splitlines():
        match = _ONE_LINE.fullmatch(line.partition("#")[0].strip())
        if match is None:
            continue
        options = dict(_options(match["options"] or ""))
        suite, *components = match["rest"].split()
        sources.append(
            AptSource(
                uris=(match["uri"],),
                suites=(suite,),
                components=tuple(components),
                signed_by=options.get("signed-by", ""),
                trusted=options.get("trusted", "") == "yes",
            )
        )
    return tuple(sources)


def parse_deb822(text: str) -> tuple[AptSource, ...]:
    """The enabled ``deb`` entries of a ``*.sources`` file."""
    sources = []
    for fields in paragraphs(text):
        if fields.get("enabled", "yes") in ("no", "false", "off", "0"):
            continue
        if "deb" not in fields.get("types", "").split():
            continue
        sources.append(
            AptSource(
                uris=tuple(fields.get("uris", "").split()),
                suites=tuple(fields.get("suites", "").split()),
                components=tuple(fields.get("components", "").split()),
                signed_by=_unfolded(fields.get("signed-by", "")),
                trusted=fields.get("trusted", "") == "yes",
            )
        )
    return tuple(sources)


def resolve_mirrors(
    sources: Iterable[AptSource], mirrors: Mapping[str, str]
) -> tuple[AptSource, ...]:
    """The sources with the first mirror of each list; ``mirrors`` has the text of lists by path.

    Cloud images name a local file that lists the mirrors; a container does not have it.
    """
    return tuple(
        replace(source, uris=tuple(_first_mirror(uri, mirrors) for uri in source.uris))
        for source in sources
    )


def mirror_lists(sources: Iterable[AptSource]) -> tuple[str, ...]:
    """The paths of the lists of mirrors that the sources name."""
    matches = (_MIRROR_FILE.fullmatch(uri) for source in sources for uri in source.uris)
    return tuple(match["path"] for match in matches if match)


def _first_mirror(uri: str, mirrors: Mapping[str, str]) -> str:
    match = _MIRROR_FILE.fullmatch(uri)
    for line in mirrors.get(match["path"], "").splitlines() if match else ():
        if words := line.partition("#")[0].split():
            return words[0]
    return uri


def derive(
    sources: Iterable[AptSource], *, releases: Iterable[str], suite: str, components: Sequence[str]
) -> tuple[AptSource, ...]:
    """The same archives for another suite: main, updates and security where this machine has them.

    ``releases`` are the names that this machine's own release goes by. Other repositories on the
    machine, backports, and what a container could not reach (CDs, local files) are left out.
    """
    pockets = _POCKETS[:1] if suite in _ROLLING else _POCKETS
    wanted = {
        f"{release}{pocket}": f"{suite}{pocket}" for release in releases for pocket in pockets
    }
    derived: dict[tuple[str, str], AptSource] = {}
    for source in sources:
        uris = tuple(uri for uri in source.uris if uri.startswith(("http://", "https://")))
        for name in source.suites:
            if uris and name in wanted:
                derived.setdefault(
                    (uris[0], wanted[name]),
                    replace(
                        source, uris=uris[:1], suites=(wanted[name],), components=tuple(components)
                    ),
                )
    return tuple(sorted(derived.values(), key=lambda source: (len(source.suites[0]), source.uris)))


def render_deb822(sources: Iterable[AptSource]) -> str:
    """The text of a ``*.sources`` file; entries that differ in their suites only become one."""
    suites: dict[AptSource, list[str]] = {}
    for source in sources:
        suites.setdefault(replace(source, suites=()), []).extend(source.suites)
    return "\n".join(
        _render(replace(source, suites=tuple(names))) for source, names in suites.items()
    )


def _render(source: AptSource) -> str:
    fields = {
        "Types": "deb",
        "URIs": " ".join(source.uris),
        "Suites": " ".join(source.suites),
        "Components": " ".join(source.components),
        "Signed-By": _folded(source.signed_by),
        "Trusted": "yes" if source.trusted else "",
    }
    return "".join(f"{name}: {value}\n" for name, value in fields.items() if value)


def _folded(value: str) -> str:
    first, *rest = value.split("\n")
    return "\n".join([first, *(f" {line or '.'}" for line in rest)])


def _options(text: str) -> Iterator[tuple[str, str]]:
    for word in text.split():
        name, _, value = word.partition("=")
        yield name.lower(), value


def _unfolded(value: str) -> str:
    """A value over several lines, in which a "." stands for an empty one."""
    first, *rest = value.split("\n")
    return "\n".join([first, *("" if line.strip() == "." else line.strip() for line in rest)])
