"""A tree that really builds, a registry of its own, and the ocbuild command."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import urllib.request
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any

import pytest
from msgspec import Struct

from tests.support.registry import LocalRegistry
from tests.support.tree import Tree

BASE = """\
FROM scratch
COPY busybox /bin/busybox
RUN ["/bin/busybox", "--install", "-s", "/bin"]
ENV PATH=/bin
"""


class Ended(Struct, frozen=True):
    """How a run of the command ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


class Ocbuild:
    """The command, in a tree, with a state folder of its own."""

    def __init__(self, tree: Tree, state: Path) -> None:
        self.tree = tree
        self.state = state

    @property
    def environ(self) -> dict[str, str]:
        keep = {k: v for k, v in os.environ.items() if not k.startswith("OCBUILD")}
        return {**keep, "OCBUILD_STATE": str(self.state), "PYTHONPATH": str(Path.cwd())}

    def __call__(self, *words: str, env: Mapping[str, str] | None = None) -> Ended:
        done = subprocess.run(
            [sys.executable, "-m", "builder", *words],
            cwd=self.tree.root,
            env={**self.environ, **(env or {})},
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )
        assert "Traceback" not in done.stderr, done.stderr
        return Ended(done.returncode, done.stdout, done.stderr)

    def start(self, *words: str, out: IO[str] | None = None) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "builder", *words],
            cwd=self.tree.root,
            env=self.environ,
            stdout=out or subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def report(self) -> dict[str, Any]:
        """The report of the last run."""
        text = (self.tree.root / ".ocbuild/last-report.json").read_text()
        report: dict[str, Any] = json.loads(text)
        return report


def docker(*words: str, check: bool = True) -> str:
    done = subprocess.run(
        ["docker", *words], capture_output=True, text=True, check=False, timeout=300
    )
    if check:
        assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.fixture(scope="session")
def registry() -> Iterator[LocalRegistry]:
    with LocalRegistry() as running:
        yield running


def ask(
    registry: LocalRegistry,
    path: str,
    kind: str = "application/vnd.docker.distribution.manifest.v2+json",
) -> tuple[Any, Mapping[str, str]]:
    """What the registry answers under /v2/: the JSON and the headers."""
    accept = {"Accept": kind}
    url = f"http://{registry.address}/v2/{path}"
    request = urllib.request.Request(url, headers=accept)
    with urllib.request.urlopen(request, timeout=30) as response:  # noqa: S310 - http
        return json.load(response), dict(response.headers)


@pytest.fixture
def namespace() -> Iterator[str]:
    """A namespace that no other test uses; its images go when the test ends."""
    name = f"e2e-{uuid.uuid4().hex[:8]}"
    yield name
    found = docker("images", "--format", "{{.Repository}}:{{.Tag}}").splitlines()
    mine = [image for image in found if f"/{name}/" in image]
    if mine:
        docker("rmi", "--force", *mine, check=False)


@pytest.fixture
def tree(tmp_path: Path, registry: LocalRegistry, namespace: str) -> Tree:
    """``base`` is a busybox; more images are added by the tests."""
    toml = f"""\
    [project]
    namespace = "{namespace}"
    registry = "{registry.address}"
    source = "https://example.org/tree"

    [groups.images]
    version = "1.0"
    """
    # With a key of its own: an engine finds images by their keys, whatever they are called.
    base = f"{BASE}ENV NAMESPACE={namespace}\n"
    tree = Tree(tmp_path / "tree", {"base": base}, toml=toml)
    shutil.copy("/bin/busybox", tree.root / "images/base/busybox")
    tree.write(".gitignore", ".ocbuild/\n")
    return tree


@pytest.fixture
def ocbuild(tree: Tree, tmp_path: Path) -> Ocbuild:
    return Ocbuild(tree, tmp_path / "state")


def interrupt(process: subprocess.Popen[str], number: int = signal.SIGINT) -> str:
    """Send a signal and wait for the end; what was printed."""
    process.send_signal(number)
    out, _ = process.communicate(timeout=120)
    return out
