"""What an engine says of itself, as a value."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from msgspec import Struct

# How the engine says that containerd keeps its images.
_CONTAINERD = ["driver-type", "io.containerd.snapshotter.v1"]


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
