"""The images of this repository's own trees, as they were published."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.containers import Containers, References, tree_images
from tests.support.engines import docker
from tests.support.leftovers import sweep
from tests.support.registry import require


@pytest.fixture(scope="session")
def references() -> References:
    """Every image of the tree under its release tag."""
    require(docker("version", "--format", "{{.Server.Version}}"), "a Docker Engine")
    sweep()
    return tree_images()


@pytest.fixture
def containers(references: References) -> Iterator[Containers]:
    made = Containers(references)
    try:
        yield made
    finally:
        made.close()
