"""Image references, parsed once and then passed as values.

Follows the grammar of https://github.com/distribution/reference/blob/main/reference.go: a first
path component is a registry if it holds a dot or a colon, or is ``localhost``. Familiar names are
kept as written: ``debian:12`` has registry "" and path ("debian",); ``canonical`` gives the full
form.
"""

from __future__ import annotations

import re

from msgspec import Struct
from msgspec.structs import replace

from builder.core.errors import InputError

_COMPONENT = re.compile(r"[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
_DIGEST = re.compile(r"[A-Za-z][A-Za-z0-9]*(?:[-_+.][A-Za-z][A-Za-z0-9]*)*:[0-9a-fA-F]{32,}")
_REGISTRY = re.compile(
    r"(?:\[[0-9a-fA-F:]+\]|[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?"
    r"(?:\.[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?)*)(?::[0-9]+)?"
)
HUB = "docker.io"
_TAG_RULE = (
    "a tag has letters, digits, '_', '.' and '-', 128 at most, and starts with no '.' or '-'"
)


class BadReferenceError(InputError):
    """The text is no image reference; the message says which part is wrong and why."""


class Reference(Struct, frozen=True):
    """``[registry/]path[:tag][@digest]``; ``path`` is the namespace and the name, joined by "/"."""

    path: str
    registry: str = ""
    tag: str = ""
    digest: str = ""

    @classmethod
    def parse(cls, text: str) -> Reference:
        """Parse a reference.

        Raises:
            BadReferenceError: with the part that is wrong and, where we can tell, the remedy.

        """
        rest, at, digest = text.partition("@")
        if at and not _DIGEST.fullmatch(digest):
            raise BadReferenceError(
                f'"{text}": "{digest}" is no digest',
                hint="a digest looks like sha256: and 64 hexadecimal digits",
            )
        registry = ""
        first, slash, remainder = rest.partition("/")
        if slash and (any(c in first for c in ".:[") or first == "localhost"):
            registry, rest = first, remainder
            if not _REGISTRY.fullmatch(registry):
                raise BadReferenceError(f'"{text}": "{registry}" is no registry host')
        path, colon, tag = rest.rpartition(":")
        if not colon or "/" in tag:
            path, tag = rest, ""
        elif not _TAG.fullmatch(tag):
            raise BadReferenceError(
                f'"{text}": "{tag}" is no tag',
                hint=_TAG_RULE,
            )
        _check_path(text, path)
        return cls(path=path, registry=registry, tag=tag, digest=digest)

    @property
    def name(self) -> str:
        """The last path component."""
        return self.path.rpartition("/")[2]

    @property
    def namespace(self) -> str:
        """All path components but the last, joined by "/"; "" for a bare name."""
        return self.path.rpartition("/")[0]

    @property
    def repository(self) -> str:
        """The reference without tag and digest."""
        return f"{self.registry}/{self.path}" if self.registry else self.path

    @property
    def canonical(self) -> str:
        """The full form that two spellings of one image share, e.g. docker.io/library/debian:12."""
        registry = self.registry or HUB
        if registry == "index.docker.io":
            registry = HUB
        path = self.path
        if registry == HUB and "/" not in path:
            path = f"library/{path}"
        tag = self.tag or ("" if self.digest else "latest")
        return str(Reference(path=path, registry=registry, tag=tag, digest=self.digest))

    def with_tag(self, tag: str) -> Reference:
        """The same repository under another tag; a digest is dropped."""
        if not _TAG.fullmatch(tag):
            raise BadReferenceError(
                f'"{tag}" is no tag',
                hint=_TAG_RULE,
            )
        return replace(self, tag=tag, digest="")

    def at(self, digest: str) -> Reference:
        """The same repository by digest; the tag is dropped."""
        return replace(self, tag="", digest=digest)

    def __str__(self) -> str:
        tag = f":{self.tag}" if self.tag else ""
        digest = f"@{self.digest}" if self.digest else ""
        return f"{self.repository}{tag}{digest}"


def _check_path(text: str, path: str) -> None:
    if not path:
        raise BadReferenceError(f'"{text}" is no image reference: it has no name')
    for component in path.split("/"):
        if not _COMPONENT.fullmatch(component):
            hint = None
            if _COMPONENT.fullmatch(component.lower()):
                hint = f'repository names are lower case: "{component.lower()}"'
            raise BadReferenceError(f'"{text}": "{component}" is no repository name', hint=hint)
