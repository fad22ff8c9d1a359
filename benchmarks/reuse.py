"""What a run that changes nothing or little costs, beside `docker buildx bake`.

Run with `make bench-reuse` or `python benchmarks/reuse.py [IMAGES]`. Both publish the same tree to
the same registry; then each does it again on the same commit, after an empty commit, and after an
edit of one leaf. Then both have it in the engine alone (`all`, and `bake --load`). Printed are
medians of seconds and how many times longer bake takes. The buildx is that of the docker command.
"""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable
from pathlib import Path

from tests.support.registry import LocalRegistry

RUNS = 5
GROUPS = 6
PUSH, LOAD = "--push", "--load"
ROWS = (
    (PUSH, "the same commit"),
    (PUSH, "an empty commit"),
    (PUSH, "one leaf edited"),
    (LOAD, "the same commit"),
    (LOAD, "one leaf edited"),
)
BASE = 'FROM scratch\nCOPY busybox /bin/busybox\nRUN ["/bin/busybox", "--install", "-s", "/bin"]\n'


class Trial:
    """A tree in a git repository, which both publish under namespaces of their own."""

    def __init__(self, root: Path, registry: str, images: int) -> None:
        self.root = root
        self.registry = registry
        self.namespace = f"bench-{uuid.uuid4().hex[:6]}"
        self.parents: dict[str, str] = {}
        self._write(images)
        self.git("init", "--quiet")
        self.commit("first")

    def _write(self, images: int) -> None:
        (self.root / ".gitignore").write_text(".ocbuild/\nstate/\nbake.json\n")
        (self.root / "build.toml").write_text(
            f'[project]\nnamespace = "{self.namespace}"\nregistry = "{self.registry}"\n'
            '[groups.images]\nversion = "1.0"\n'
        )
        self.image("base", BASE, "")
        shutil.copy("/bin/busybox", self.root / "images/base/busybox")
        for group in range(GROUPS):
            self.image(f"group-{group}", f"FROM base\nRUN echo {group} > /group\n", "base")
        for leaf in range(images - GROUPS - 1):
            parent = f"group-{leaf % GROUPS}"
            text = f"FROM {parent}\nCOPY entrypoint.sh /\nLABEL leaf={leaf}\nCMD leaf-{leaf}\n"
            self.image(f"leaf-{leaf}", text, parent)
            self.edit(leaf, "first")

    def image(self, name: str, dockerfile: str, parent: str) -> None:
        folder = self.root / "images" / name
        folder.mkdir(parents=True)
        (folder / "Dockerfile").write_text(dockerfile)
        self.parents[name] = parent

    def edit(self, leaf: int, text: str) -> None:
        (self.root / f"images/leaf-{leaf}/entrypoint.sh").write_text(f"#!/bin/sh\n# {text}\n")

    def git(self, *words: str) -> str:
        name = ("-c", "user.name=bench", "-c", "user.email=bench@example.org")
        done = subprocess.run(
            ["git", *name, *words], cwd=self.root, check=True, capture_output=True, text=True
        )
        return done.stdout.strip()

    def commit(self, why: str) -> None:
        self.git("add", "--all")
        self.git("commit", "--quiet", "--allow-empty", "--message", why)

    def bake(self, where: str) -> None:
        """Its file is written before the clock runs: it has no graph from FROM of its own."""
        run(["docker", "buildx", "bake", where, "--file", "bake.json"], self.root)

    def write_bake(self) -> None:
        tag = self.git("rev-parse", "--short=7", "HEAD")
        targets = {
            name: {
                "context": f"images/{name}",
                "contexts": {parent: f"target:{parent}"} if parent else {},
                "tags": [f"{self.registry}/{self.namespace}-bake/{name}:1.0-{tag}"],
                "attest": ["type=provenance,disabled=true"],
            }
            for name, parent in self.parents.items()
        }
        document = {"group": {"default": {"targets": list(targets)}}, "target": targets}
        (self.root / "bake.json").write_text(json.dumps(document))

    def ocbuild(self, where: str) -> None:
        words = ["all", "--push"] if where == PUSH else ["all"]
        run([sys.executable, "-m", "builder", *words, "--progress", "quiet"], self.root)

    def remove_images(self) -> None:
        names = run(["docker", "images", "--format", "{{.Repository}}:{{.Tag}}"], self.root)
        mine = [name for name in names.split() if f"/{self.namespace}" in name]
        run(["docker", "rmi", "--force", *mine], self.root)


def run(words: list[str], folder: Path) -> str:
    environ = {
        **os.environ,
        "PYTHONPATH": str(Path(__file__).resolve().parent.parent),
        "OCBUILD_STATE": str(folder / "state"),
    }
    done = subprocess.run(
        words, cwd=folder, env=environ, capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        sys.exit(f"{words} ended with {done.returncode}:\n{done.stderr}")
    return done.stdout


def seconds(work: Callable[[str], None], where: str) -> float:
    began = time.perf_counter()
    work(where)
    return time.perf_counter() - began


def main(words: list[str]) -> None:
    images = int(words[0]) if words else 60
    with tempfile.TemporaryDirectory() as folder, LocalRegistry() as registry:
        trial = Trial(Path(folder), registry.address, images)
        trial.write_bake()
        times: dict[tuple[str, str], dict[str, list[float]]] = {}
        for where in (PUSH, LOAD):
            trial.ocbuild(where)
            trial.bake(where)
            for number in range(RUNS):
                for what in (what for place, what in ROWS if place == where):
                    if what == "one leaf edited":
                        trial.edit(0, f"edit {number} {where}")
                    if what != "the same commit":
                        trial.commit(what)
                        trial.write_bake()
                    took = times.setdefault((where, what), {"ocbuild": [], "bake": []})
                    took["ocbuild"].append(seconds(trial.ocbuild, where))
                    took["bake"].append(seconds(trial.bake, where))
        trial.remove_images()
    print(f"{images} images, medians of {RUNS} whole runs, in seconds")
    for (where, what), took in times.items():
        ours, theirs = (statistics.median(took[who]) for who in ("ocbuild", "bake"))
        print(
            f"{where}  {what:16}  ocbuild {ours:6.2f}  bake {theirs:6.2f}"
            f"  bake/ocbuild {theirs / ours:5.1f}"
        )


if __name__ == "__main__":
    main(sys.argv[1:])
