"""How long changed leaves take from an edit to the registry: `ocbuild --push` and `buildx bake`.

Run with `make bench-assembler` or `python benchmarks/assembler.py [LEAVES …]`. Both are timed as
whole processes, on the same machine and registry, one after the other, each after its own edit. It
needs a Docker Engine with buildx, a static busybox and the program docker-registry.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
from tests.support.registry import LocalRegistry

RUNS = 3
ATTEMPTS = 4
# The engine loses jobs of bakes with hundreds of targets, so those are done in portions.
PORTION = 60
LEAVES = (36, 300)
ROOTS = 6
COMMIT = "abcdef0"
NAMESPACE = "assembler-bench"
BUILD_TOML = """\
[project]
namespace = "{namespace}"
registry = "{address}"

[groups.images]
version = "1.0"
commit = "{commit}"

[publish]
immutable = false
"""
BASE = """\
FROM scratch
COPY busybox /bin/busybox
RUN ["/bin/busybox", "--install", "-s", "/bin"]
"""
ROOT = """\
FROM common
RUN mkdir -p /etc/app /var/lib/app && dd if=/dev/urandom of=/var/lib/app/data bs=1M count=4
COPY entrypoint.sh /entrypoint.sh
"""
LEAF = """\
FROM root-{root}
LABEL net.juniper.group=leaf-{number}
ENV IMAGE=leaf-{number}
COPY entrypoint.sh /entrypoint.sh
EXPOSE {port}
ENTRYPOINT ["/entrypoint.sh"]
CMD ["run", "--number", "{number}"]
"""


@dataclass(frozen=True, kw_only=True)
class Bench:
    """A tree of one base, a few images on it, and many leaves on those."""

    root: Path
    address: str
    leaves: int

    def write(self) -> None:
        text = BUILD_TOML.format(namespace=NAMESPACE, address=self.address, commit=COMMIT)
        (self.root / "build.toml").write_text(text)
        self._image("common", BASE)
        shutil.copy("/bin/busybox", self.root / "images/common/busybox")
        for number in range(ROOTS):
            self._image(f"root-{number}", ROOT)
        for number in range(self.leaves):
            root = number % ROOTS
            text = LEAF.format(root=root, number=number, port=1000 + number)
            self._image(f"leaf-{number}", text)

    def _image(self, name: str, dockerfile: str) -> None:
        folder = self.root / "images" / name
        folder.mkdir(parents=True)
        (folder / "Dockerfile").write_text(dockerfile)
        self._script(folder, "first")

    @staticmethod
    def _script(folder: Path, text: str) -> None:
        (folder / "entrypoint.sh").write_text(f'#!/bin/sh\n# {text}\nexec "$@"\n')
        (folder / "entrypoint.sh").chmod(0o755)

    def edit(self, count: int) -> None:
        """Change the content of the first leaves; each gets one that no image ever had."""
        for number in range(count):
            self._script(self.root / "images" / f"leaf-{number}", f"{number} {time.time_ns()}")

    def prepare(self) -> None:
        """Have all of the tree in engine and registry."""
        self.ocbuild("all")

    def ocbuild(self, *targets: str) -> None:
        argv = [sys.executable, "-m", "builder", *targets, "--push"]
        run([*argv, "--config", str(self.root / "build.toml"), "--progress", "quiet"])

    def bake(self, count: int) -> None:
        targets = {
            f"leaf-{number}": {
                "context": str(self.root / "images" / f"leaf-{number}"),
                "tags": [f"{self.address}/{NAMESPACE}/leaf-{number}:bake"],
                "contexts": {
                    f"root-{number % ROOTS}": (
                        f"docker-image://{self.address}/{NAMESPACE}/root-{number % ROOTS}"
                        f":1.0-{COMMIT}"
                    )
                },
            }
            for number in range(count)
        }
        file = self.root / "bake.json"
        file.write_text(json.dumps({"target": targets}))
        argv = ["docker", "buildx", "bake", "--push", "--provenance=false", "--progress", "quiet"]
        names = list(targets)
        for start in range(0, count, PORTION):
            run([*argv, "--file", str(file), *names[start : start + PORTION]])

    def compare(self, count: int) -> None:
        """Edit so many leaves and publish them, in both ways by turns."""
        names = [f"leaf-{number}" for number in range(count)]
        ours: list[float] = []
        theirs: list[float] = []
        for _ in range(RUNS):
            self.edit(count)
            ours.append(seconds(lambda: self.ocbuild(*names)))
            self.edit(count)
            theirs.append(seconds(lambda: self.bake(count), again=True))
        mine, other = statistics.median(ours), statistics.median(theirs)
        print(
            f"{count:4} of {self.leaves + ROOTS + 1} images changed: ocbuild {mine:7.2f} s"
            f" ({min(ours):.2f} to {max(ours):.2f}), bake {other:7.2f} s"
            f" ({min(theirs):.2f} to {max(theirs):.2f}), {other / mine:5.1f} times",
            flush=True,
        )

    def clean(self) -> None:
        listed = subprocess.run(
            ["docker", "images", "--quiet", "--filter", f"reference={self.address}/{NAMESPACE}/*"],
            check=True,
            capture_output=True,
            text=True,
        )
        if names := sorted(set(listed.stdout.split())):
            argv = ["docker", "rmi", "--force", *names]
            subprocess.run(argv, check=False, capture_output=True)


def run(argv: list[str]) -> None:
    environ = {**os.environ, "BUILDX_NO_DEFAULT_ATTESTATIONS": "1"}
    done = subprocess.run(argv, check=False, capture_output=True, text=True, env=environ)
    if done.returncode != 0:
        raise FailedError(f"{' '.join(argv[:6])} …: {done.stdout[-2000:]}{done.stderr[-2000:]}")


class FailedError(Exception):
    """A program that is measured has failed."""


def seconds(what: Callable[[], None], *, again: bool = False) -> float:
    """The time of the first attempt that does not fail; there is one but with ``again``.

    With many targets, bake now and then loses one of its own jobs.
    """
    for attempt in range(ATTEMPTS):
        started = time.perf_counter()
        try:
            what()
        except FailedError as error:
            if not again or attempt == ATTEMPTS - 1:
                sys.exit(str(error))
            print(f"     (failed, tried again: {str(error).strip()[-90:]})", flush=True)
        else:
            return time.perf_counter() - started
    raise AssertionError


def main() -> None:
    # What is stopped from outside removes its images, too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    for leaves in tuple(int(word) for word in sys.argv[1:]) or LEAVES:
        with LocalRegistry() as registry, tempfile.TemporaryDirectory() as folder:
            bench = Bench(root=Path(folder), address=registry.address, leaves=leaves)
            bench.write()
            try:
                bench.prepare()
                for count in (leaves, 1):
                    bench.compare(count)
            finally:
                bench.clean()


if __name__ == "__main__":
    main()
