"""A site of its own for a test: releases in a namespace of its own, stacks, and the command."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from msgspec import Struct, field

from builder.core.reference import Reference
from builder.core.release import Inputs, Release, ReleasedImage
from builder.publish.write import Releases
from builder.registry.client import Registry
from builder.system.resources import SystemClock
from tests.support.engines import docker
from tests.support.leftovers import new_name

ROOT = Path(__file__).parents[2]
HOST = "127.0.0.1:5000"
NAMESPACE = "ocbuild-cloud-test"
# A machine for tests has no usable KVM, no kernel module of Open vSwitch, no volume group, and
# little memory.
CHANGES = {
    "VIRT_TYPE": "qemu",
    "DATAPATH_TYPE": "netdev",
    "VOLUME_DRIVER": "cinder.tests.fake_driver.FakeLoggingVolumeDriver",
    "CASSANDRA_HEAP": "512m",
    "KAFKA_HEAP": "256m",
    "ZOOKEEPER_HEAP": "128m",
}


class Ended(Struct, frozen=True):
    code: int
    out: str
    err: str


class Site(Struct, frozen=True):
    """A folder with build.toml and the tree's stacks, under names that nobody else has."""

    folder: Path
    name: str = field(default_factory=lambda: new_name("cloud"))
    environ: Mapping[str, str] = field(default_factory=dict)

    @property
    def networks(self) -> tuple[str, str]:
        return f"{self.name}-internal", f"{self.name}-ext"

    def write(self) -> None:
        shutil.copytree(
            ROOT / "deploy", self.folder / "deploy", ignore=shutil.ignore_patterns("common.env")
        )
        example = self.folder / "deploy" / "common.env.example"
        internal, ext = self.networks
        changes = {
            **CHANGES,
            "CLOUD": self.name,
            "NETWORK_INTERNAL": internal,
            "NETWORK_EXT": ext,
        }
        example.write_text(_changed(example.read_text(), changes))
        (self.folder / "empty").mkdir()
        stacks = (ROOT / "build.toml").read_text()
        stacks = stacks[stacks.index("[deploy.networks.internal]") :]
        stacks = stacks[: stacks.index("# What each image must be able to do")]
        stacks = stacks.replace('parent = "eth0"', f'parent = "{_way_out()}"')
        head = (
            f'[project]\nname = "{self.name}"\nnamespace = "{NAMESPACE}"\n\n'
            '[groups.none]\npath = "empty"\nversion = "1"\n\n'
        )
        (self.folder / "build.toml").write_text(head + stacks)

    def __call__(self, *words: str) -> Ended:
        """The command, in this site."""
        done = subprocess.run(
            [sys.executable, "-m", "builder", *words],
            cwd=self.folder,
            env={
                **os.environ,
                **self.environ,
                "PYTHONPATH": str(ROOT),
                "OCBUILD_STATE": str(self.folder / "state"),
            },
            capture_output=True,
            text=True,
            check=False,
            timeout=1800,
        )
        return Ended(done.returncode, done.stdout, done.stderr)

    def containers(self) -> dict[str, str]:
        """The id of each container that runs, by name."""
        listed = docker(
            "ps", "--filter", f"name={self.name}-", "--format", "{{.Names}} {{.ID}}"
        ).splitlines()
        return dict(line.split(" ", 1) for line in listed)

    def container(self, stack: str, service: str) -> str:
        return f"{self.name}-{stack}-{service}-1"

    def remove(self) -> None:
        self("down", "--volumes")
        left = docker("ps", "--all", "--quiet", "--filter", f"name={self.name}-").split()
        if left:
            docker("rm", "--force", "--volumes", *left)
        volumes = docker("volume", "ls", "--quiet", "--filter", f"name={self.name}-").split()
        if volumes:
            docker("volume", "rm", *volumes)
        for network in self.networks:
            subprocess.run(["docker", "network", "rm", network], capture_output=True, check=False)


def release(tag: str, changes: Mapping[str, str]) -> None:
    """Publish the images of the tree as a release of this site's namespace.

    ``changes`` maps an image to the lines of a Dockerfile that make another one of it.
    """
    tree = json.loads(
        subprocess.run(
            [sys.executable, "-m", "builder", "graph", "all", "--format", "json"],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        ).stdout
    )["images"]
    with Registry.connect(os.environ, clock=SystemClock()) as registry:

        def one(name: str) -> ReleasedImage:
            image = tree[name]
            source = Reference.parse(f"{image['ref']}:{image['tag']}")
            target = Reference.parse(f"{HOST}/{NAMESPACE}/{name}:{tag}")
            if name in changes:
                _build(str(source), changes[name], str(target))
                digest = registry.manifest(target).digest
            else:
                digest = registry.copy(source, target).digest
            return ReleasedImage(
                name=name,
                path=target.path,
                tag=tag,
                digest=digest,
                key="",
                group=image["group"],
                inputs=Inputs(recipe=""),
            )

        with ThreadPoolExecutor(max_workers=6) as pool:
            images = {image.name: image for image in pool.map(one, tree)}
        made = Release(
            tag=tag,
            project="cloud",
            namespace=NAMESPACE,
            commit="",
            created="2026-01-02T03:04:05Z",
            images=images,
        )
        Releases(registry, host=HOST, namespace=NAMESPACE).write(made)


def _build(source: str, lines: str, target: str) -> None:
    subprocess.run(
        ["docker", "build", "--quiet", "--tag", target, "-"],
        input=f"FROM {source}\n{lines}\n".encode(),
        capture_output=True,
        check=True,
        timeout=300,
    )
    docker("push", "--quiet", target)
    docker("rmi", target)


def _changed(text: str, changes: Mapping[str, str]) -> str:
    return "".join(
        f"{name}={changes[name]}\n" if (name := line.partition("=")[0]) in changes else line
        for line in text.splitlines(keepends=True)
    )


def _way_out() -> str:
    """The interface of the default route."""
    routes: Iterable[str] = Path("/proc/net/route").read_text().splitlines()[1:]
    return next(route.split()[0] for route in routes if route.split()[1] == "00000000")
