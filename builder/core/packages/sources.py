"""Reads apt's sources, in both of their formats, and derives those of another suite from them.

sources.list(5) has both: https://manpages.debian.org/stable/apt/sources.list.5.en.html
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence

from msgspec import Struct
from msgspec.structs import replace

from builder.core.packages.control import paragraphs

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
