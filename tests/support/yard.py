"""Where tests make images with the engine `assembler`, and store them in a registry."""

from __future__ import annotations

import os
import threading
from pathlib import Path

from builder.core.reference import Reference
from builder.core.registry_content import BlobSource
from builder.docker.daemon import Daemon
from builder.engines import BuildRequest, StorableResult
from builder.engines.assembler import Assembler
from builder.engines.layer_cache import LayerIndexes
from builder.registry.client import Registry
from builder.system.resources import SystemClock
from tests.support.engines import OURS, TEST_LABEL, Outputs, parsed


class Yard:
    """An engine with its registry client, and a folder to make images from."""

    def __init__(self, daemon: Daemon, address: str, folder: Path) -> None:
        self.folder = folder
        self.address = address
        self.registry = Registry.connect(os.environ, clock=SystemClock())
        indexes = LayerIndexes(self.registry, folder / "indexes")
        self.engine = Assembler(daemon, self.registry, indexes, platform="linux/amd64")
        self.made: dict[str, BlobSource] = {}
        (folder / "context").mkdir()
        (folder / "context/f").write_text("first\n", encoding="utf-8")

    def tag(self, name: str) -> str:
        return f"{self.address}/assembler-test/{name}:{OURS}"

    def request(self, name: str, text: str) -> BuildRequest:
        dockerfile = self.folder / f"{name}.Dockerfile"
        dockerfile.write_text(text, encoding="utf-8")
        return BuildRequest(
            image=name,
            parsed=parsed(text),
            context=self.folder / "context",
            dockerfile=dockerfile,
            dockerfile_label=f"{name}/Dockerfile",
            tags=(self.tag(name),),
            contexts={"base": self.tag("base"), "app": self.tag("app")},
            labels={TEST_LABEL: OURS},
        )

    def make(self, request: BuildRequest) -> str:
        result = self.engine.build(request, Outputs(), threading.Event())
        assert isinstance(result, StorableResult)
        self.made[request.tags[0]] = result.blobs
        return result.image_id

    def store(self, request: BuildRequest, target: str = "") -> tuple[str, int, int]:
        """The digest, the bytes sent and the number of requests."""
        before = self.registry.traffic.requests
        blobs = self.made[request.tags[0]]
        uploaded = blobs.store(Reference.parse(target or request.tags[0]))
        return blobs.manifest.digest, uploaded, self.registry.traffic.requests - before
