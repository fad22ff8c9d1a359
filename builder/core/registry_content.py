"""What a registry stores, as values: digests, descriptors and manifests, kept byte for byte."""

from __future__ import annotations

import hashlib
import io
import json
import re
from collections.abc import Callable, Mapping
from typing import IO, Annotated, Any, Protocol

from msgspec import UNSET, Meta, Struct, UnsetType, field

from builder.core.codec import MalformedError, decode
from builder.core.reference import Reference
from builder.core.registry_faults import DigestMismatchError, ProtocolError

DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_CONFIG = "application/vnd.oci.image.config.v1+json"
DOCKER_CONFIG = "application/vnd.docker.container.image.v1+json"
IMAGE_CONFIGS = frozenset({OCI_CONFIG, DOCKER_CONFIG})
INDEXES = (DOCKER_LIST, OCI_INDEX)
MANIFESTS = (DOCKER_MANIFEST, OCI_MANIFEST, *INDEXES)

# All algorithms that the specification registers, with the length of their hexadecimal digits.
_ALGORITHMS = {"sha256": 64, "sha384": 96, "sha512": 128}
_HEX = re.compile(r"[0-9a-f]+")
# Servers that do not know the type of what they were given fall back to these.
_VAGUE = ("", "application/json", "application/octet-stream", "text/plain")
# What an artifact without a configuration has for one, by the OCI image specification.
EMPTY = b"{}"
EMPTY_TYPE = "application/vnd.oci.empty.v1+json"


class Descriptor(Struct, frozen=True, kw_only=True):
    """What a manifest says about a blob or another manifest; ``platform`` is os/arch[/variant]."""

    media_type: str
    digest: str
    size: int
    platform: str = ""
    annotations: Mapping[str, str] = field(default_factory=dict)

    def __hash__(self) -> int:
        return hash(self.digest)

    @property
    def distributable(self) -> bool:
        """False for layers that a licence keeps out of registries: they stay where they are."""
        return "nondistributable" not in self.media_type and ".foreign." not in self.media_type


class Manifest(Struct, frozen=True, kw_only=True):
    """A manifest or an index: ``body`` is what counts, the rest was read from it.

    ``config`` and ``layers`` are those of a manifest, ``manifests`` those of an index.
    """

    media_type: str
    digest: str
    body: bytes
    config: Descriptor | None = None
    layers: tuple[Descriptor, ...] = ()
    manifests: tuple[Descriptor, ...] = ()
    artifact_type: str = ""
    annotations: Mapping[str, str] = field(default_factory=dict)

    def __hash__(self) -> int:
        return hash(self.digest)

    def __repr__(self) -> str:
        return f"Manifest({self.media_type!r}, {self.digest!r})"

    @classmethod
    def of(
        cls, body: bytes, media_type: str = "", *, digest: str = "", name: str = "the manifest"
    ) -> Manifest:
        """Read a manifest; ``media_type`` is the server's word for it, ``name`` is for messages.

        Raises:
            DigestMismatchError: if it does not have the digest that was asked for.
            ProtocolError: if it is none, or of a kind that we do not know.

        """
        actual = digest_of(body, algorithm(digest, name) if digest else "sha256")
        if digest and actual != digest:
            raise DigestMismatchError(f"{name} has the digest {actual} instead of {digest}")
        try:
            document = decode(body, _ManifestDocument, what=name)
        except MalformedError as error:
            raise ProtocolError(str(error)) from error
        kind = _kind(document, media_type, name)
        is_index = kind in INDEXES
        config = None if is_index else document.config
        return cls(
            media_type=kind,
            digest=actual,
            body=body,
            config=_descriptor(config, name) if isinstance(config, _Part) else None,
            layers=() if is_index else _descriptors(document.layers, name),
            manifests=_descriptors(document.manifests, name) if is_index else (),
            artifact_type=str(document.artifact_type or ""),
            annotations=_texts(document.annotations),
        )

    @property
    def is_index(self) -> bool:
        return self.media_type in INDEXES

    @property
    def blobs(self) -> tuple[Descriptor, ...]:
        """The blobs that must be in the repository before the manifest may be, each one once."""
        all_blobs = (*self.layers, *(() if self.config is None else (self.config,)))
        return tuple({blob.digest: blob for blob in all_blobs if blob.distributable}.values())

    @property
    def descriptor(self) -> Descriptor:
        return Descriptor(media_type=self.media_type, digest=self.digest, size=len(self.body))


class BlobSource(Protocol):
    """An image whose blobs this process has, so that no Docker Engine has to push it."""

    @property
    def manifest(self) -> Manifest: ...

    def upload(self, target: Reference) -> int:
        """Have what is new in it in a repository, without a name; the bytes that were sent."""

    def store(self, target: Reference) -> int:
        """Have all of it there under a name; the bytes that were sent."""


class Content(Struct, frozen=True, kw_only=True):
    """The bytes of a blob; ``open`` gives them from the start, as often as a retry needs them."""

    digest: str
    size: int
    open: Callable[[], IO[bytes]]

    @classmethod
    def of(cls, data: bytes) -> Content:
        return cls(digest=digest_of(data), size=len(data), open=lambda: io.BytesIO(data))


class Verifier:
    """Sees bytes go by and says at the end whether they were the right ones."""

    def __init__(self, digest: str, name: str) -> None:
        self._hasher = hashlib.new(algorithm(digest, name))
        self._digest = digest
        self._name = name

    def feed(self, block: bytes) -> None:
        self._hasher.update(block)

    def finish(self) -> None:
        """Raise DigestMismatchError unless all bytes were seen and are what the digest says."""
        actual = f"{self._hasher.name}:{self._hasher.hexdigest()}"
        if actual != self._digest:
            raise DigestMismatchError(
                f"{self._name} has the digest {actual} instead of {self._digest}"
            )


def digest_of(data: bytes, algorithm: str = "sha256") -> str:
    return f"{algorithm}:{hashlib.new(algorithm, data).hexdigest()}"


def algorithm(digest: str, name: str) -> str:
    """The algorithm of a digest that is well formed.

    Raises:
        ProtocolError: it is not; nothing else may become part of an address.

    """
    word, _, digits = digest.partition(":")
    if _ALGORITHMS.get(word) != len(digits) or not _HEX.fullmatch(digits):
        raise ProtocolError(f'{name}: "{digest}" is no digest that we can verify')
    return word


def make_artifact(
    kind: str,
    data: bytes,
    annotations: Mapping[str, str],
    *,
    media_type: str = "",
    subject: Descriptor | None = None,
) -> tuple[Manifest, tuple[Content, ...]]:
    """The manifest of an artifact of this kind, and the blobs that must be there before it.

    ``media_type`` is that of the data, by default the artifact's own. ``subject`` is the manifest
    that it is attached to.
    """
    empty, layer = Content.of(EMPTY), Content.of(data)
    document: dict[str, object] = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "artifactType": kind,
        "config": {"mediaType": EMPTY_TYPE, "digest": empty.digest, "size": empty.size},
        "layers": [{"mediaType": media_type or kind, "digest": layer.digest, "size": layer.size}],
    }
    if subject is not None:
        document["subject"] = {
            "mediaType": subject.media_type,
            "digest": subject.digest,
            "size": subject.size,
        }
    document["annotations"] = dict(annotations)
    body = json.dumps(document, indent=2).encode()
    return Manifest.of(body, OCI_MANIFEST), (empty, layer)


def is_artifact(manifest: Manifest, kind: str) -> bool:
    """Whether it is of this kind and has one layer, the data, as ``make_artifact`` has it."""
    return manifest.artifact_type == kind and len(manifest.layers) == 1


class _Part(Struct, frozen=True, rename="camel"):
    """A descriptor as it is written; what we do not need may be anything."""

    digest: str
    size: Annotated[int, Meta(ge=0)]
    media_type: Any = None
    platform: Any = None
    annotations: Any = None


class _ManifestDocument(Struct, frozen=True, rename="camel"):
    """A manifest or an index as it is written, by https://github.com/opencontainers/image-spec."""

    schema_version: Any = None
    media_type: str | None = None
    config: _Part | UnsetType | None = UNSET
    layers: list[_Part] | UnsetType | None = UNSET
    manifests: list[_Part] | UnsetType | None = UNSET
    artifact_type: Any = None
    annotations: Any = None


def _kind(document: _ManifestDocument, said: str, name: str) -> str:
    """The media type, on which header and content must agree: one digest has one meaning."""
    if document.schema_version != 2:  # noqa: PLR2004 - all four kinds have this number
        raise ProtocolError(
            f"{name} is of the obsolete schema {document.schema_version}",
            hint="push the image again with a current docker",
        )
    lists = document.manifests is not UNSET
    if lists and (document.layers is not UNSET or document.config is not UNSET):
        raise ProtocolError(f"{name} is a manifest and an index at once")
    inside = document.media_type or ""
    header = "" if said in _VAGUE else said
    if inside and header and inside != header:
        raise ProtocolError(f'{name} is called "{header}" and calls itself "{inside}"')
    kind = header or inside or (OCI_INDEX if lists else OCI_MANIFEST)
    if kind not in MANIFESTS:
        raise ProtocolError(f'{name} is of the kind "{kind}", which is no image manifest')
    if kind in INDEXES and not lists:
        raise ProtocolError(f"{name} is an index without manifests")
    if kind not in INDEXES and lists:
        raise ProtocolError(f'{name} is called "{kind}", but is an index')
    return kind


def _descriptors(parts: list[_Part] | UnsetType | None, name: str) -> tuple[Descriptor, ...]:
    return tuple(_descriptor(part, name) for part in parts or ())


def _descriptor(part: _Part, name: str) -> Descriptor:
    algorithm(part.digest, name)
    return Descriptor(
        media_type=str(part.media_type or ""),
        digest=part.digest,
        size=part.size,
        platform=_platform(part.platform),
        annotations=_texts(part.annotations),
    )


def _platform(found: object) -> str:
    if not isinstance(found, dict):
        return ""
    parts = (found.get("os"), found.get("architecture"), found.get("variant"))
    return "/".join(str(part) for part in parts if part)


def _texts(found: object) -> dict[str, str]:
    if not isinstance(found, dict):
        return {}
    return {str(key): str(value) for key, value in found.items()}
