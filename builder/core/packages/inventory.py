"""What archives offer: their indexes as text to versions, and the version that apt would take.

The indexes are those of the Debian repository format, whose paragraphs are of deb822(5); the
priorities are those of apt_preferences(5).
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from urllib.parse import urlsplit, urlunsplit

from msgspec import Struct
from msgspec.structs import replace

from builder.core.codec import MalformedError, decode
from builder.core.errors import PublishError
from builder.core.packages.sources import (
    AptSource,
    is_newer,
    paragraphs,
    parse_deb822,
    parse_one_line,
    unsigned,
    version_key,
)

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


SCHEMA = 1
ARTIFACT_TYPE = "application/vnd.ocbuild.inventory.v1+json"
ALL = "all"

STATUS = "/var/lib/dpkg/status"
# Where an image without dpkg itself ("distroless") says what it was put together from.
STATUS_FOLDER = "/var/lib/dpkg/status.d"
APT = "/etc/apt"
PATHS = (STATUS, STATUS_FOLDER, APT)
"""All that has to be read of an image."""


class Package(Struct, frozen=True, kw_only=True, order=True):
    """One installed package; the source is what it was built from, at the version of that."""

    name: str
    version: str
    architecture: str
    source: str
    source_version: str

    @property
    def id(self) -> str:
        """What is unique within an image: "libc6:amd64"."""
        return f"{self.name}:{self.architecture}"


class PackageSource(Struct, frozen=True, kw_only=True, order=True):
    """One place where apt looks for packages; without a component it is a flat repository.

    The address is without name and password: an inventory is published, and they are secrets.
    """

    uri: str
    suite: str
    component: str = ""
    trusted: bool = False

    def __str__(self) -> str:
        return " ".join(word for word in (self.uri, self.suite, self.component) if word)


class Inventory(Struct, frozen=True, kw_only=True):
    """The packages and sources of an image; ``dpkg`` is False where it has no packages at all.

    ``pinned`` says that its apt has preferences, which may hold a package at an older version.
    """

    dpkg: bool
    packages: tuple[Package, ...] = ()
    sources: tuple[PackageSource, ...] = ()
    pinned: bool = False

    @property
    def architecture(self) -> str:
        """The one that most packages have, "" where all of them are for any."""
        counted = Counter(package.architecture for package in self.packages)
        del counted[ALL]
        return max(counted, key=lambda name: (counted[name], name), default="")

    @property
    def architectures(self) -> tuple[str, ...]:
        return tuple(sorted({package.architecture for package in self.packages} - {ALL}))

    def own(self, parent: Inventory | None) -> tuple[Package, ...]:
        """The packages that the image's own layers brought: its parent lacks them at that version.

        Without a parent that is all of them, those of the external base included.
        """
        inherited = frozenset(parent.packages if parent else ())
        return tuple(package for package in self.packages if package not in inherited)

    def as_bytes(self) -> bytes:
        """The JSON that is stored; equal inventories give equal bytes."""
        document = {
            "schema": SCHEMA,
            "dpkg": self.dpkg,
            "pinned": self.pinned,
            "sources": [
                [source.uri, source.suite, source.component, source.trusted]
                for source in self.sources
            ],
            "packages": [
                [found.name, found.version, found.architecture, found.source, found.source_version]
                for found in sorted(self.packages)
            ],
        }
        # A package on each line: small, and yet a person can read it.
        return json.dumps(document, ensure_ascii=True).replace("], [", "],\n[").encode() + b"\n"

    @classmethod
    def from_bytes(cls, data: bytes, where: str) -> Inventory:
        """Read what ``as_bytes`` wrote; ``where`` is for messages.

        Raises:
            PublishError: it is no inventory, or one of a newer schema.

        """
        try:
            schema = decode(data, _SchemaOnly, what=where).schema
            if schema != SCHEMA:
                raise PublishError(
                    f"{where} was written by another version of ocbuild (schema {schema})",
                    hint="use the version that wrote it, or a newer one",
                )
            document = decode(data, _Document, what=where)
        except MalformedError as error:
            raise PublishError(f"{where} holds no inventory of ocbuild: {error}") from error
        return cls(
            dpkg=document.dpkg,
            pinned=document.pinned,
            packages=tuple(
                Package(
                    name=name,
                    version=version,
                    architecture=architecture,
                    source=source,
                    source_version=source_version,
                )
                for name, version, architecture, source, source_version in document.packages
            ),
            sources=tuple(
                PackageSource(uri=uri, suite=suite, component=component, trusted=trusted)
                for uri, suite, component, trusted in document.sources
            ),
        )


class _SchemaOnly(Struct, frozen=True, kw_only=True):
    schema: int


class _Document(Struct, frozen=True, kw_only=True):
    """The JSON of an inventory, a package or source in each row."""

    dpkg: bool
    pinned: bool = False
    packages: tuple[tuple[str, str, str, str, str], ...]
    sources: tuple[tuple[str, str, str, bool], ...]


def installed(status: str) -> tuple[Package, ...]:
    """The packages of dpkg's status file that are unpacked in the image, removed ones left out."""
    return tuple(sorted(_installed(paragraphs(status))))


def _installed(found: Iterable[Mapping[str, str]]) -> Iterable[Package]:
    for fields in found:
        # A distroless image has one file per package, without a status: what is there is installed.
        state = fields.get("status", "install ok installed").split()
        name, version = fields.get("package"), fields.get("version")
        if not name or not version or state[-1:] in (["not-installed"], ["config-files"]):
            continue
        source, source_version = _built_from(fields.get("source", ""))
        yield Package(
            name=name,
            version=version,
            architecture=fields.get("architecture", ALL),
            source=source or name,
            source_version=source_version or version,
        )


def _built_from(text: str) -> tuple[str, str]:
    """``glibc (2.41-12)``: the version is there if it is not that of the package."""
    name, _, version = text.partition("(")
    return name.strip(), version.strip().rstrip(")").strip()


# -- from the files of an image ----------------------------------------------------------------


def inventory_of(files: Mapping[str, bytes]) -> Inventory:
    """What the image with these files has, and where its apt would look for more."""
    status = [
        content.decode("utf-8", "replace")
        for path, content in sorted(files.items())
        if path == STATUS or _is_status_file(path)
    ]
    inventory = Inventory(
        dpkg=bool(status),
        packages=installed("\n\n".join(status)),
        pinned=any(
            content.strip()
            for path, content in files.items()
            if path == f"{APT}/preferences" or path.startswith(f"{APT}/preferences.d/")
        ),
    )
    architecture = inventory.architecture
    sources = {
        replace(source, suite=source.suite.replace("$(ARCH)", architecture))
        for entry in _apt_sources(files)
        for source in _each(entry)
    }
    return replace(inventory, sources=tuple(sorted(sources)))


def _is_status_file(path: str) -> bool:
    return path.startswith(f"{STATUS_FOLDER}/") and not path.endswith(".md5sums")


def _apt_sources(files: Mapping[str, bytes]) -> Iterator[AptSource]:
    for path, content in sorted(files.items()):
        text = content.decode("utf-8", "replace")
        folder, _, name = path.rpartition("/")
        in_parts = folder == f"{APT}/sources.list.d"
        if path == f"{APT}/sources.list" or (in_parts and name.endswith(".list")):
            yield from parse_one_line(text)
        elif in_parts and name.endswith(".sources"):
            yield from parse_deb822(text)


def _each(entry: AptSource) -> Iterable[PackageSource]:
    """An entry of apt may name several of everything."""
    return (
        PackageSource(uri=_public(uri), suite=suite, component=component, trusted=entry.trusted)
        for uri in entry.uris
        for suite in entry.suites
        for component in entry.components or ("",)
    )


def _public(uri: str) -> str:
    """Without name and password, and without the slash that changes nothing."""
    parts = urlsplit(uri)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2])).rstrip("/")
