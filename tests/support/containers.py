"""Containers of the published images for tests: on a network of their own, gone with the test."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from msgspec import Struct

from tests.support.engines import docker, soon
from tests.support.leftovers import new_name
from tests.support.registry import require

# Checks of health are for days of operation; a test wants to know at once.
_QUICK = ("--health-interval=1s", "--health-start-period=0s", "--health-retries=300")
HEALTHY_SECONDS = 240.0


class Container(Struct, frozen=True):
    """A running container; other containers of the test reach it by ``name``."""

    name: str
    id: str

    def run(self, *words: str, stdin: str = "", user: str = "") -> str:
        """What a command in the container prints on stdout; it has to succeed."""
        as_user = ("--user", user) if user else ()
        done = self.attempt(*words, stdin=stdin, options=as_user)
        assert done.returncode == 0, f"{words} in {self.name}: {done.stdout}{done.stderr}"
        return done.stdout

    def attempt(
        self, *words: str, stdin: str = "", options: Sequence[str] = ()
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["docker", "exec", "--interactive", *options, self.id, *words],
            input=stdin,
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )

    def wait_healthy(self, within: float = HEALTHY_SECONDS) -> None:
        soon(lambda: self._health() != "starting" or not self._runs(), within=within)
        assert self._health() == "healthy", f"{self.name} is {self._health()}:\n{self.logs()}"

    def wait_until(self, *words: str, within: float = 60.0) -> None:
        """Wait until a command in the container succeeds."""
        ok = soon(lambda: self.attempt(*words).returncode == 0, within=within)
        assert ok, f"{words} in {self.name}: {self.attempt(*words)}\n{self.logs()}"

    @property
    def address(self) -> str:
        """Its IP address, which this machine reaches."""
        form = "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}"
        return docker("inspect", "--format", form, self.id)

    def wait_unhealthy(self, within: float = 60.0) -> None:
        assert soon(lambda: self._health() == "unhealthy", within=within), self.logs()

    def restart(self) -> None:
        docker("restart", "--time", "20", self.id)

    def signal(self, name: str) -> None:
        """Send a signal to its first process."""
        docker("kill", "--signal", name, self.id)

    def exit_code(self) -> int:
        """Wait for the end of its process."""
        return int(docker("wait", self.id))

    def stop(self) -> int:
        """``docker stop``; the exit code: 137 where the process did not heed the signal."""
        docker("stop", "--time", "20", self.id)
        return self.exit_code()

    def logs(self) -> str:
        done = subprocess.run(
            ["docker", "logs", "--tail", "60", self.id],
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        return done.stdout + done.stderr

    def _health(self) -> str:
        return docker("inspect", "--format", "{{.State.Health.Status}}", self.id)

    def _runs(self) -> bool:
        return docker("inspect", "--format", "{{.State.Running}}", self.id) == "true"


class Containers:
    """Starts containers by the names of images of the tree; ``close`` removes them."""

    def __init__(self, references: Mapping[str, str]) -> None:
        self._references = references
        self._network = new_name("images")
        self._ids: list[str] = []
        docker("network", "create", self._network)

    def close(self) -> None:
        if self._ids:
            docker("rm", "--force", "--volumes", *self._ids)
        docker("network", "rm", self._network)

    def start(
        self,
        image: str,
        *command: str,
        name: str = "",
        env: Mapping[str, str] | None = None,
        options: Sequence[str] = (),
    ) -> Container:
        """Start ``image`` under ``name`` (its own, unless given) in the test's network."""
        name = name or image
        variables = [f"--env={key}={value}" for key, value in (env or {}).items()]
        # An alias is known inside the network alone, so that tests can run side by side.
        place = [f"--network={self._network}", f"--network-alias={name}"]
        if any(option.startswith("--network") for option in options):
            place = []
        made = docker(
            "create", *place, *_QUICK, *variables, *options, self._references[image], *command
        )
        self._ids.append(made)
        docker("start", made)
        return Container(name, made)

    def once(
        self,
        image: str,
        *command: str,
        env: Mapping[str, str] | None = None,
        options: Sequence[str] = (),
    ) -> str:
        """Run a container to its end, which has to be a good one; what it printed."""
        made = self.start(image, *command, name=f"{image}-once", env=env, options=options)
        code = made.exit_code()
        assert code == 0, f"{image} {command} ended with {code}:\n{made.logs()}"
        return made.logs()


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


def tree_images() -> References:
    """The images of this repository under their release tags, and no others of such names."""
    done = subprocess.run(
        [sys.executable, "-m", "builder", "graph", "all", "--format", "json"],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    images: Mapping[str, Mapping[str, str]] = json.loads(done.stdout)["images"]
    return References({name: f"{image['ref']}:{image['tag']}" for name, image in images.items()})
