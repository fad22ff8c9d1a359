"""Commands that are killed at any moment leave records by which the next one puts all right."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import Ocbuild, ask, docker
from tests.support.engines import soon
from tests.support.registry import LocalRegistry
from tests.support.tree import Tree

pytestmark = [pytest.mark.e2e, pytest.mark.engine]

# All of them are many minutes; a few are enough to see that nothing has come undone.
KILLS = int(os.environ.get("OCBUILD_KILLS", "5"))
SEED = int(os.environ.get("OCBUILD_KILLS_SEED", "14"))
# The longest a command is let run, in seconds: some are over by then, which is a case, too.
LONGEST = 3.0
STACKS = ("one", "two", "three")
IMAGE = "${REGISTRY}/${NAMESPACE}/%s:${TAG_IMAGES}"
SERVE = 'CMD ["sh", "-c", "trap exit TERM; while true; do sleep 1; done"]\n'
FILES = {
    # Without a name, without restart, and with another service in one of the releases.
    "one": "services:\n  serve:\n    image: {a}\n    stop_grace_period: 0s\n",
    "two": (
        "services:\n  job:\n    image: {b}\n    command: ['true']\n  serve:\n    image: {b}\n"
        "    restart: unless-stopped\n    stop_grace_period: 0s\n"
        "    depends_on: {{job: {{condition: service_completed_successfully}}}}\n"
    ),
    "three": (
        "name: ${{NAMESPACE}}-third\nservices:\n  own:\n    image: {a}\n    restart: always\n"
        "    stop_grace_period: 0s\n  side:\n    image: {b}\n    restart: always\n"
        "    stop_grace_period: 0s\n    network_mode: service:own\n"
    ),
}
TABLES = """
[deploy.stacks.one]
file = "deploy/one.yml"

[deploy.stacks.two]
file = "deploy/two.yml"
needs = ["one"]

[deploy.stacks.three]
file = "deploy/three.yml"
"""


class Place:
    """A tree with three stacks and two releases, and all that can be known of what runs of it."""

    def __init__(self, ocbuild: Ocbuild, tree: Tree, registry: LocalRegistry, name: str) -> None:
        self.ocbuild, self.tree, self.registry, self.name = ocbuild, tree, registry, name
        self.projects = {"one": f"{name}-one", "two": f"{name}-two", "three": f"{name}-third"}
        for stack, text in FILES.items():
            tree.write(f"deploy/{stack}.yml", text.format(a=IMAGE % "a", b=IMAGE % "b"))
        tree.write("build.toml", (tree.root / "build.toml").read_text() + TABLES)
        self.releases = [self.publish(number) for number in (1, 2)]

    def publish(self, number: int) -> str:
        for image in "ab":
            self.tree.image(image, f"FROM base\nENV NUMBER={number}\n{SERVE}")
        self.tree.commit()
        ended = self.ocbuild("all", "--push")
        assert ended.code == 0, ended.err
        return str(self.ocbuild.report()["release"]).rpartition(":")[2]

    def recorded(self, stack: str, which: str = "current") -> dict[str, str] | None:
        """The images of a record of this machine, by service."""
        file = self.ocbuild.state / "deploy" / self.name / stack / f"{which}.json"
        return images(json.loads(file.read_text())) if file.exists() else None

    def shared(self) -> dict[str, dict[str, str] | None]:
        """The same of what the registry says that runs."""
        tags = ask(self.registry, f"{self.name}/release/tags/list")[0]["tags"]
        kind = "application/vnd.oci.image.manifest.v1+json"
        found = {}
        for tag in (tag for tag in tags if tag.startswith("deployed-")):
            manifest, _ = ask(self.registry, f"{self.name}/release/manifests/{tag}", kind)
            digest = manifest["layers"][0]["digest"]
            entry, _ = ask(self.registry, f"{self.name}/release/blobs/{digest}")
            found[entry["stack"]] = images(entry["now"]) if entry["now"] else None
        return found

    def running(self, stack: str) -> dict[str, str]:
        """The images of the containers that there are, by service; jobs have ended."""
        label = "com.docker.compose"
        shown = docker(
            *("ps", "--all", "--filter", f"label={label}.project={self.projects[stack]}"),
            *("--format", f'{{{{.Label "{label}.service"}}}} {{{{.Names}}}}'),
        )
        pairs = (line.split() for line in shown.splitlines())
        return {
            service: docker("inspect", "--format", "{{.Config.Image}}", name)
            for service, name in pairs
        }

    def agrees(self) -> list[str]:
        """The stacks of which a record and what runs differ, with what they are."""
        shared = self.shared()
        wrong = []
        for stack in STACKS:
            runs, here, there = self.running(stack), self.recorded(stack), shared.get(stack)
            if (here or {}) != runs or (there or {}) != runs or self.recorded(stack, "intended"):
                wrong.append(f"{stack}: runs {runs}, here {here}, there {there}")
        return wrong


def images(deployment: Any) -> dict[str, str]:
    services = deployment["compose"]["services"]
    return {name: str(service["image"]) for name, service in services.items()}


@pytest.fixture
def place(ocbuild: Ocbuild, tree: Tree, registry: LocalRegistry, namespace: str) -> Iterator[Place]:
    made = Place(ocbuild, tree, registry, namespace)
    yield made
    ids = [
        one
        for project in made.projects.values()
        for one in docker(
            *("ps", "--all", "--quiet"),
            *("--filter", f"label=com.docker.compose.project={project}"),
        ).split()
    ]
    if ids:
        docker("rm", "--force", *ids)
    for project in made.projects.values():
        docker("network", "rm", f"{project}_default", check=False)


def descendants(pid: int) -> list[int]:
    """The processes below one, as they are now."""
    parents: dict[int, list[int]] = {}
    for entry in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = entry.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        parents.setdefault(int(fields[1]), []).append(int(entry.parent.name))
    found, waiting = list[int](), [pid]
    while waiting:
        below = parents.get(waiting.pop(), [])
        found += below
        waiting += below
    return found


def killed(process: subprocess.Popen[str], seconds: float, *, alone: bool) -> bool:
    """Kill a command after some time, with or without those that it has started.

    Those that are left go on until they have done their work. Returns whether it still ran.
    """
    time.sleep(seconds)
    below = descendants(process.pid)
    ran = process.poll() is None
    process.kill()
    for pid in () if alone else below:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue
    process.communicate(timeout=120)
    assert soon(lambda: not any(Path(f"/proc/{pid}").exists() for pid in below), within=120)
    return ran


def test_after_a_kill_the_next_command_has_records_and_what_runs_agree(place: Place) -> None:
    rng, count = random.Random(SEED), Counter[str]()  # noqa: S311 - no secret
    commands = [["deploy", "--release", one] for one in place.releases] + [["rollback"], ["down"]]
    assert place.ocbuild(*commands[0]).code == 0
    for number in range(KILLS):
        words, seconds = rng.choice(commands), rng.uniform(0.3, LONGEST)
        alone = rng.random() < 0.5
        ran = killed(place.ocbuild.start(*words), seconds, alone=alone)
        count[f"{words[0]} {'killed' if ran else 'over'}"] += 1
        wrong, said = place.agrees(), place.ocbuild("status", "--json")
        if wrong:
            count["half-way after the kill"] += 1
        # Status compares what runs with the records of this machine, and never calls it well.
        halves = [stack for stack in STACKS if differs(place, stack)]
        assert said.code == 5 or not halves, (number, words, halves, said.out)
        before = {stack: place.recorded(stack) for stack in STACKS}
        cut = [stack for stack in STACKS if place.recorded(stack, "intended") and before[stack]]
        after = rng.choice(commands)
        ended = place.ocbuild(*after)
        nothing = after == ["rollback"] and "nothing ran before" in ended.err
        assert ended.code == 0 or nothing, (number, words, seconds, after, ended.err)
        if after == ["rollback"]:
            # What was cut off is undone; where nothing ran before there is nothing to go back to.
            for stack in cut:
                assert place.running(stack) == before[stack], (number, words, stack)
            if place.agrees():
                count["rollback without a way back"] += 1
                ended = place.ocbuild("down")
                assert ended.code == 0, ended.err
        assert place.agrees() == [], (number, words, seconds, alone, after, ended.err)
        count[f"then {after[0]}"] += 1
    sys.stdout.write(f"{KILLS} kills, seed {SEED}: {dict(sorted(count.items()))}\n")


def differs(place: Place, stack: str) -> bool:
    """Whether what runs of a stack is something else than what this machine has noted."""
    noted = place.recorded(stack) or place.recorded(stack, "intended") or {}
    return place.running(stack) != noted
