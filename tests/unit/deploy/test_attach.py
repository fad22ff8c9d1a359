"""A worker is shown the overlay of a stack for as long as compose is at work, and no longer."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import Any

import pytest

from builder.core.errors import DeployError
from builder.core.settings.sections import Host
from builder.deploy.compose import DockerCommand, external_networks_held
from builder.system.process import Completed
from tests.support.engines import soon

STACK: dict[str, Any] = {
    "services": {"api": {"image": "registry/cloud/api@sha256:aa"}},
    "networks": {
        "internal": {"name": "cloud-internal", "external": True},
        "own": {"name": "cloud_own"},
    },
}


class Docker:
    """An engine that knows some networks, and can reach some more."""

    def __init__(self, known: str = "", reachable: str = "") -> None:
        self.known, self.reachable = known, reachable
        self.holders: list[str] = []
        self.said: list[tuple[str, ...]] = []

    def __call__(self, *words: str) -> Completed:
        self.said.append(words)
        good = True
        if words[0] == "network":
            good = words[-1] == self.known
        elif words[0] == "run":
            good = words[words.index("--network") + 1] == self.reachable
            if good:
                self.holders.append(words[words.index("--name") + 1])
        else:
            self.holders = [name for name in self.holders if name not in words]
        error = b"" if good else b"network not found"
        return Completed(stdout=b"", stderr=error, returncode=0 if good else 1)


def test_a_network_that_is_known_needs_no_container() -> None:
    docker = Docker(known="cloud-internal")
    with external_networks_held(docker, STACK, "here"):
        pass
    assert [words[0] for words in docker.said] == ["network"]


def test_another_is_held_by_a_container_of_an_image_that_is_there() -> None:
    docker = Docker(reachable="cloud-internal")
    with external_networks_held(docker, STACK, "here"):
        assert len(docker.holders) == 1
        run = docker.said[-1]
        assert run[run.index("--pull") + 1] == "never"
        assert "registry/cloud/api@sha256:aa" in run
    assert docker.holders == []


def test_the_container_goes_whatever_goes_wrong() -> None:
    docker = Docker(reachable="cloud-internal")

    def work() -> None:
        with external_networks_held(docker, STACK, "here"):
            raise KeyError

    with pytest.raises(KeyError):
        work()
    assert len(docker.said) == 3
    assert docker.holders == []


def test_one_that_nobody_has_is_one_message() -> None:
    with (
        pytest.raises(DeployError, match="cloud-internal is not to be had here: network not fou"),
        external_networks_held(Docker(), STACK, "here"),
    ):
        pass


def test_a_stack_without_networks_of_others_asks_nothing() -> None:
    docker = Docker()
    with external_networks_held(docker, {"services": {}, "networks": None}, "here"):
        pass
    assert docker.said == []


# What is removed is written down; compose takes until it is told to end.
DOCKER = """#!/bin/sh
echo "$*" >> {log}
case "$*" in
  *"network inspect"*) exit 1 ;;
  *compose*) cat > /dev/null; exec sleep 60 ;;
esac
"""


def test_an_interruption_leaves_no_container_that_holds_a_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = tmp_path / "log"
    program = tmp_path / "docker"
    program.write_text(DOCKER.format(log=log))
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    engine = DockerCommand(host=Host(name="local"), environ=os.environ)

    def interrupt() -> None:
        assert soon(lambda: log.exists() and "compose" in log.read_text(), within=60)
        engine.cancel.set()

    watching = threading.Thread(target=interrupt)
    watching.start()
    assert not engine.up({"name": "cloud", **STACK}, lambda _line: None, 60.0)
    watching.join()
    said = [line.split() for line in log.read_text().splitlines()]
    began = next(words for words in said if words[0] == "run")
    assert said[-1] == ["rm", "--force", began[began.index("--name") + 1]]
