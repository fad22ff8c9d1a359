"""What a Docker Engine answers, as values: https://docs.docker.com/reference/api/engine/."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from msgspec import Struct, field

from builder.core.dockerfile.stages import engine_platform

# How the engine says that containerd keeps its images.
_CONTAINERD = ["driver-type", "io.containerd.snapshotter.v1"]
_FRAME = struct.Struct(">BxxxL")


class EngineInfo(Struct, frozen=True, kw_only=True):
    """What the engine says of itself."""

    version: str
    api_version: str
    os: str
    architecture: str
    storage_driver: str
    containerd_store: bool
    root: str
    cpus: int
    memory: int
    insecure_registries: tuple[str, ...]

    @property
    def platform(self) -> str:
        """What it builds for by default, as OCI names it, e.g. linux/amd64."""
        return engine_platform(self.os, self.architecture)

    @classmethod
    def of(cls, info: Mapping[str, Any], api_version: str) -> EngineInfo:
        """Read the answer to ``GET /info``."""
        registries = (info.get("RegistryConfig") or {}).get("InsecureRegistryCIDRs") or ()
        return cls(
            version=info.get("ServerVersion", ""),
            api_version=api_version,
            os=info.get("OSType", ""),
            architecture=info.get("Architecture", ""),
            storage_driver=info.get("Driver", ""),
            containerd_store=_CONTAINERD in (info.get("DriverStatus") or ()),
            root=info.get("DockerRootDir", ""),
            cpus=info.get("NCPU", 0),
            memory=info.get("MemTotal", 0),
            insecure_registries=tuple(registries),
        )


class LocalImage(Struct, frozen=True, kw_only=True):
    """An image in the engine. ``onbuild`` are its triggers, ``created`` is RFC 3339 text."""

    id: str
    tags: tuple[str, ...] = ()
    repo_digests: tuple[str, ...] = ()
    size: int = 0
    labels: Mapping[str, str] = field(default_factory=dict)
    env: tuple[str, ...] = ()
    onbuild: tuple[str, ...] = ()
    created: str = ""
    architecture: str = ""

    @classmethod
    def of(cls, image: Mapping[str, Any]) -> LocalImage:
        """Read the answer to ``GET /images/{name}/json``."""
        config = image.get("Config") or {}
        return cls(
            id=image["Id"],
            tags=tuple(image.get("RepoTags") or ()),
            repo_digests=tuple(image.get("RepoDigests") or ()),
            size=image.get("Size") or 0,
            labels=dict(config.get("Labels") or {}),
            env=tuple(config.get("Env") or ()),
            onbuild=tuple(config.get("OnBuild") or ()),
            created=image.get("Created") or "",
            architecture=image.get("Architecture") or "",
        )


class Pushed(Struct, frozen=True, kw_only=True):
    """``uploaded`` counts the bytes of layers that went to the registry, before compression."""

    digest: str
    uploaded: int


def messages(chunks: Iterable[bytes]) -> Iterator[dict[str, Any]]:
    """The JSON objects of an answer, one a line, as they come.

    Raises:
        ConnectionError: what comes is no JSON object.

    """
    rest = b""
    for chunk in chunks:
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            if line.strip():
                yield _object(line)
    if rest.strip():
        yield _object(rest)


def _object(line: bytes) -> dict[str, Any]:
    try:
        decoded = json.loads(line)
    except ValueError as error:
        raise ConnectionError(f"unreadable answer {line[:80]!r}") from error
    if not isinstance(decoded, dict):
        raise ConnectionError(f"unreadable answer {line[:80]!r}")
    return decoded


def frames(chunks: Iterable[bytes]) -> Iterator[tuple[int, bytes]]:
    """Standard output (1) and error (2), which the engine sends in one stream of framed pieces."""
    rest = b""
    for chunk in chunks:
        rest += chunk
        while len(rest) >= _FRAME.size:
            stream, size = _FRAME.unpack_from(rest)
            if len(rest) < _FRAME.size + size:
                break
            yield stream, rest[_FRAME.size : _FRAME.size + size]
            rest = rest[_FRAME.size + size :]
