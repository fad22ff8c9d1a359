"""What a killed run of these tests left in the engine goes with the next run."""

from __future__ import annotations

import uuid

import pytest

from tests.support.engines import docker
from tests.support.leftovers import new_name, sweep

pytestmark = pytest.mark.engine


def test_what_names_a_run_that_is_no_more_is_removed_and_what_is_ours_stays() -> None:
    theirs, ours = f"ocbuild-images-{uuid.uuid4().hex[:8]}", new_name("images")
    for name in (theirs, ours):
        docker("network", "create", name)
        docker("volume", "create", f"{name}-data")
    try:
        sweep()
        networks = docker("network", "ls", "--format", "{{.Name}}").split()
        volumes = docker("volume", "ls", "--format", "{{.Name}}").split()
        assert ours in networks
        assert f"{ours}-data" in volumes
        assert theirs not in networks
        assert f"{theirs}-data" not in volumes
    finally:
        docker("network", "rm", ours)
        docker("volume", "rm", f"{ours}-data")
