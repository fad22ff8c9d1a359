"""What an image has of Debian packages, and where its apt would look for newer ones.

It is recorded when the image is published, so that nobody has to pull an image to tell whether it
is outdated. Equal contents give equal bytes: an image whose own layers install nothing shares the
record of its parent.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from msgspec import Struct

from builder.core.errors import PublishError
from builder.core.packages.stanzas import paragraphs

SCHEMA = 1
ARTIFACT_TYPE = "application/vnd.ocbuild.inventory.v1+json"
ALL = "all"


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


class Source(Struct, frozen=True, kw_only=True, order=True):
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
    sources: tuple[Source, ...] = ()
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
            document: dict[str, Any] = json.loads(data)
            if document["schema"] != SCHEMA:
                raise PublishError(
                    f"{where} was written by another version of ocbuild"
                    f" (schema {document['schema']})",
                    hint="use the version that wrote it, or a newer one",
                )
            return cls(
                dpkg=bool(document["dpkg"]),
                pinned=bool(document.get("pinned", False)),
                packages=tuple(_package(row) for row in document["packages"]),
                sources=tuple(_source(row) for row in document["sources"]),
            )
        except (KeyError, IndexError, TypeError, ValueError) as error:
            raise PublishError(f"{where} holds no inventory of ocbuild: {error!r}") from error


def _package(row: list[str]) -> Package:
    name, version, architecture, source, source_version = row
    return Package(
        name=name,
        version=version,
        architecture=architecture,
        source=source,
        source_version=source_version,
    )


def _source(row: list[Any]) -> Source:
    uri, suite, component, trusted = row
    return Source(uri=uri, suite=suite, component=component, trusted=bool(trusted))


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
