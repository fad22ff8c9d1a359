"""What archives offer: their indexes as text to versions, and the version that apt would take.

The indexes are those of https://wiki.debian.org/DebianRepository/Format, the priorities those of
apt_preferences(5): https://manpages.debian.org/stable/apt/apt_preferences.5.en.html
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from msgspec import Struct

from builder.core.packages.control import is_newer, paragraphs, unsigned, version_key

# What apt gives a version that nothing else is said about, and those of archives that ask for less.
DEFAULT, INSTALLED, UPGRADES_ONLY, NEVER = 500, 100, 100, 1

Versions = Mapping[str, tuple[str, ...]]
"""The versions of each package, by name."""

_FIELDS = re.compile(rb"^(?:Package|Version): *(\S+)", re.MULTILINE)
_PACKAGE = b"Package:"


class ReleaseFile(Struct, frozen=True, kw_only=True):
    """A suite's table of contents: ``indexes`` maps each file to its SHA-256.

    ``priority`` is what apt gives its packages. ``by_hash`` says that a file can be had under its
    hash, so that it cannot change between table and file. ``separate_all`` says that packages for
    all architectures are in an index of their own only; ``valid_until`` is
    when the table is no more to be believed, "" for never.
    """

    indexes: Mapping[str, str]
    priority: int = DEFAULT
    by_hash: bool = False
    separate_all: bool = False
    valid_until: str = ""


def read_release(text: str) -> ReleaseFile:
    """Read an InRelease or a Release file.

    Raises:
        ValueError: it is none.

    """
    fields = next(iter(paragraphs(unsigned(text))), {})
    if "sha256" not in fields:
        raise ValueError("it has no SHA256 of its indexes")
    rows = (line.split() for line in fields["sha256"].splitlines())
    return ReleaseFile(
        indexes={row[2]: row[0] for row in rows if len(row) == 3},  # noqa: PLR2004
        priority=_priority(fields),
        by_hash=fields.get("acquire-by-hash", "") == "yes",
        separate_all="Packages" not in fields.get("no-support-for-architecture-all", "").split()
        and "all" in fields.get("architectures", "").split(),
        valid_until=fields.get("valid-until", ""),
    )


def _priority(fields: Mapping[str, str]) -> int:
    if fields.get("notautomatic", "") != "yes":
        return DEFAULT
    return UPGRADES_ONLY if fields.get("butautomaticupgrades", "") == "yes" else NEVER


def read_packages(data: bytes) -> dict[str, tuple[str, ...]]:
    """The versions of every package of an index, by name.

    The index of a suite has some 60 MB and 70 000 packages, so nothing else of it is looked at.
    """
    found: dict[str, tuple[str, ...]] = {}
    name = ""
    for match in _FIELDS.finditer(data):
        value = match[1].decode("ascii", "replace")
        if data.startswith(_PACKAGE, match.start()):
            name = value
        elif name:
            found[name] = (*found.get(name, ()), value)
            name = ""
    return found


class Offers(Struct, frozen=True, kw_only=True):
    """All that one set of sources offers for one architecture, each source with its priority."""

    indexes: tuple[tuple[int, Versions], ...] = ()

    def candidate(self, name: str, installed: str) -> str:
        """The version that apt would take, which is the installed one unless there is a newer one.

        Among versions that are no older than the installed one the highest priority wins, and then
        the highest version; so an archive like backports updates only what was taken from it.
        """
        offered: dict[str, int] = {installed: INSTALLED}
        for priority, found in self.indexes:
            for version in found.get(name, ()):
                if version == installed or is_newer(version, installed):
                    offered[version] = max(priority, offered.get(version, 0))
        return max(offered, key=lambda version: (offered[version], version_key(version)))
