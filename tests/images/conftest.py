"""The images of this repository's own trees, as they were published."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping

import pytest

from tests.support.containers import Containers
from tests.support.engines import docker
from tests.support.leftovers import sweep
from tests.support.registry import require


def published(reference: str) -> bool:
    """Whether the engine has the image, or can have it from the registry."""
    found = subprocess.run(
        ["docker", "image", "inspect", reference], capture_output=True, check=False, timeout=60
    )
    if found.returncode == 0:
        return True
    pulled = subprocess.run(
        ["docker", "pull", "--quiet", reference], capture_output=True, check=False, timeout=600
    )
    return pulled.returncode == 0


class References(dict[str, str]):
    """Image name to reference; one that is not there skips, or fails, the test that asks for it."""

    def __getitem__(self, name: str) -> str:
        reference = super().__getitem__(name)
        require(published(reference), f"{reference} (make images)")
        return reference


@pytest.fixture(scope="session")
def references() -> References:
    """Every image of the tree under its release tag."""
    require(docker("version", "--format", "{{.Server.Version}}"), "a Docker Engine")
    sweep()
    done = subprocess.run(
        [sys.executable, "-m", "builder", "graph", "all", "--format", "json"],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    images: Mapping[str, Mapping[str, str]] = json.loads(done.stdout)["images"]
    return References({name: f"{image['ref']}:{image['tag']}" for name, image in images.items()})


@pytest.fixture
def containers(references: References) -> Iterator[Containers]:
    made = Containers(references)
    try:
        yield made
    finally:
        made.close()
