"""How long changed leaves take from an edit to the registry: `ocbuild --push` and `buildx bake`.

Run with `make bench-assembler` or `python benchmarks/assembler.py [LEAVES …]`. Both are timed as
whole processes, on the same machine and registry, one after the other, each after its own edit, in
two ways: "tree" gives both the whole tree, and they find out what has changed; "named" names just
the changed images to both. The registry's data lie in memory, for how quick its disk is says
nothing of either; BENCH_REGISTRY names another folder for them. It needs a Docker Engine with
buildx, a static busybox and the program docker-registry.
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
from collections.abc import Callable, Mapping
from pathlib import Path

from msgspec import Struct, field

sys.path.insert(0, str(Path(__file__).parents[1]))
from tests.support.registry import LocalRegistry

RUNS = 3
ATTEMPTS = 8
# After a bake the engine is busy with itself for seconds that what is timed next is not to pay for.
REST_SECONDS = 6.0
# What takes so many seconds is timed once.
LONG = 30.0
# With hundreds of targets the engine loses jobs of a bake ("no such job"). How many it can do at
# once depends on the machine, so that is found out before anything is timed; fewer than this make
# no sense.
FEWEST = 10
LEAVES = (36, 300)
MEMORY = Path("/dev/shm")  # noqa: S108 - the folder that it makes there is its own
DATA = Path(
    os.environ.get("BENCH_REGISTRY") or (MEMORY if MEMORY.is_dir() else tempfile.gettempdir())
)
ROOTS = 6
PROGRAM = Path(sys.executable).with_name("ocbuild")
COMMIT = "abcdef0"
NAMESPACE = "assembler-bench"
BUILD_TOML = """\
[project]
namespace = "{namespace}"
registry = "{address}"

[groups.images]
version = "1.0"
{commit}

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


class Bench(Struct, frozen=True, kw_only=True):
    """A tree of one base, a few images on it, and many leaves on those.

    ``program`` is what starts ocbuild, with ``environ`` over our own; ``commit`` stands for all
    that git would know, "" where the tree is in git.
    """

    root: Path
    registry: LocalRegistry
    leaves: int
    namespace: str = NAMESPACE
    commit: str = COMMIT
    program: tuple[str, ...] = (str(PROGRAM),)
    environ: Mapping[str, str] = field(default_factory=dict)
    most: dict[str, int] = field(default_factory=dict)

    def write(self) -> None:
        commit = f'commit = "{self.commit}"' if self.commit else ""
        text = BUILD_TOML.format(
            namespace=self.namespace, address=self.registry.address, commit=commit
        )
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
        """Have all of the tree in engine, registry and the cache of either."""
        self.ocbuild("all")
        names = [f"leaf-{number}" for number in range(self.leaves)]
        self.most["tree"] = self._most_at_once("tree", names)
        self.most["named"] = self._most_at_once("named", names)

    def _most_at_once(self, way: str, names: list[str]) -> int:
        """As many targets as a bake can do at once, halved until it can."""
        most = len(names)
        while True:
            try:
                self.edit(len(names))
                self.bake(way, names, most)
            except FailedError as error:
                if most // 2 < FEWEST:
                    sys.exit(str(error))
                print(f"     (bake loses {error.last} with {most} targets at once)", flush=True)
                most = -(-most // 2)
            else:
                return most

    def ocbuild(self, *targets: str) -> None:
        argv = [*self.program, *targets, "--push"]
        options = ["--config", str(self.root / "build.toml"), "--progress", "quiet"]
        run([*argv, *options], self.environ, self.root)

    def bake(self, way: str, leaves: list[str], most: int) -> None:
        """Bake these leaves, or with "tree" all of the tree, so many of them in one process."""
        file = self.root / "bake.json"
        targets = self._whole_tree() if way == "tree" else self._alone(leaves)
        file.write_text(json.dumps({"target": targets}))
        argv = ["docker", "buildx", "bake", "--push", "--provenance=false", "--progress", "quiet"]
        above = [name for name in targets if not name.startswith("leaf-")]
        names = [name for name in targets if name.startswith("leaf-")]
        for start in range(0, len(names), most):
            run([*argv, "--file", str(file), *above, *names[start : start + most]])
            above = []

    def _whole_tree(self) -> dict[str, object]:
        """Each image on its parent as bake makes it in the same process."""
        targets = {"common": self._target("common", {})}
        for root in range(ROOTS):
            targets[f"root-{root}"] = self._target(f"root-{root}", {"common": "target:common"})
        for number in range(self.leaves):
            parent = f"root-{number % ROOTS}"
            contexts = {parent: f"target:{parent}"}
            targets[f"leaf-{number}"] = self._target(f"leaf-{number}", contexts)
        return targets

    def _alone(self, leaves: list[str]) -> dict[str, object]:
        """Each on its parent as the registry has it."""
        targets: dict[str, object] = {}
        for leaf in leaves:
            root = f"root-{int(leaf.partition('-')[2]) % ROOTS}"
            where = (
                f"docker-image://{self.registry.address}/{self.namespace}/{root}:1.0-{self.commit}"
            )
            targets[leaf] = self._target(leaf, {root: where})
        return targets

    def _target(self, name: str, contexts: dict[str, str]) -> object:
        return {
            "context": str(self.root / "images" / name),
            "tags": [f"{self.registry.address}/{self.namespace}/{name}:bake"],
            "contexts": contexts,
        }

    def compare(self, way: str, count: int) -> None:
        """Edit so many leaves and publish them, in both ways by turns."""
        names = [f"leaf-{number}" for number in range(count)]
        targets = ["all"] if way == "tree" else names
        most = self.most[way]
        if way == "tree":
            self._settle()
        ours, theirs = Timed(), Timed()
        self._count_requests(wanted=False)
        for _ in range(RUNS):
            self.edit(count)
            self._time(ours, lambda: self.ocbuild(*targets))
            if theirs.seconds and max(theirs.seconds) > LONG:
                continue
            self.edit(count)
            self._time(theirs, lambda: self.bake(way, names, most), again=True)
        self._count_requests(wanted=True)
        self.edit(count)
        ours.requests = self._requests(names, lambda: self.ocbuild(*targets))
        if theirs.median < LONG:
            self.edit(count)
            theirs.requests = self._requests(names, lambda: self.bake(way, names, most))
        ratio = theirs.median / ours.median
        print(
            f"{way:5} {count:3} of {self.leaves + ROOTS + 1} images changed:"
            f" ocbuild {ours}; bake {theirs};"
            f" {ratio:5.1f} times",
            flush=True,
        )

    def _count_requests(self, *, wanted: bool) -> None:
        """Have the registry write down its requests, which takes time of its own, or not."""
        self.registry.stop()
        self.registry.logged = wanted
        self.registry.start()

    def _requests(self, names: list[str], what: Callable[[], None]) -> Requests | None:
        """How many requests it takes; None where it fails, as bake does now and then."""
        before = len(self.registry.asked())
        try:
            what()
        except FailedError:
            return None
        asked = self.registry.asked()[before:]
        starts = tuple(f"/v2/{self.namespace}/{name}/" for name in names)
        own = sum(line.split()[1].startswith(starts) for line in asked)
        return Requests(images=len(names), own=own, others=len(asked) - own)

    def _settle(self) -> None:
        """Let both publish what was edited for the other one, so that no more than the next edit
        is measured of either.
        """
        everything = [f"leaf-{number}" for number in range(self.leaves)]
        self.ocbuild("all")
        most = self.most["tree"]
        self._time(Timed(), lambda: self.bake("tree", everything, most), again=True)

    def _time(self, timed: Timed, what: Callable[[], None], *, again: bool = False) -> None:
        """Add the time of the first attempt that does not fail; there is one but with ``again``."""
        for attempt in range(ATTEMPTS):
            time.sleep(REST_SECONDS)
            started = time.perf_counter()
            try:
                what()
            except FailedError as error:
                if not again or attempt == ATTEMPTS - 1:
                    sys.exit(str(error))
                print(f"     (bake failed, tried again: {error.last})", flush=True)
            else:
                timed.seconds.append(time.perf_counter() - started)
                return

    def clean(self) -> None:
        listed = subprocess.run(
            [
                "docker",
                "images",
                "--quiet",
                "--filter",
                f"reference={self.registry.address}/{self.namespace}/*",
            ],
            check=True,
            capture_output=True,
            text=True,
        )
        if names := sorted(set(listed.stdout.split())):
            argv = ["docker", "rmi", "--force", *names]
            subprocess.run(argv, check=False, capture_output=True)


def run(argv: list[str], more: Mapping[str, str] | None = None, folder: Path | None = None) -> None:
    environ = {**os.environ, "BUILDX_NO_DEFAULT_ATTESTATIONS": "1", **(more or {})}
    # A program that is installed has its bytecode.
    environ.pop("PYTHONDONTWRITEBYTECODE", None)
    done = subprocess.run(
        argv, check=False, capture_output=True, text=True, env=environ, cwd=folder
    )
    if done.returncode != 0:
        raise FailedError(f"{' '.join(argv[:6])} …: {done.stdout[-2000:]}{done.stderr[-2000:]}")


class FailedError(Exception):
    """A program that is measured has failed."""

    @property
    def last(self) -> str:
        return str(self).strip()[-90:]


class Requests(Struct, frozen=True, kw_only=True):
    """What the registry was asked: in the repositories of the changed images, and in all others."""

    images: int
    own: int
    others: int

    def __str__(self) -> str:
        return f"{self.own / self.images:.1f} requests an image and {self.others} others"


class Timed(Struct, kw_only=True):
    """What one of the two took, run by run, and how often it asked the registry in another one."""

    seconds: list[float] = field(default_factory=list)
    requests: Requests | None = None

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)

    def __str__(self) -> str:
        span = f"{min(self.seconds):.2f} to {max(self.seconds):.2f}"
        once = "once" if len(self.seconds) == 1 else span
        asked = "" if self.requests is None else f", {self.requests}"
        return f"{self.median:6.2f} s ({once}){asked}"


def main() -> None:
    for leaves in tuple(int(word) for word in sys.argv[1:]) or LEAVES:
        with (
            LocalRegistry(quick=True, parent=DATA) as registry,
            tempfile.TemporaryDirectory() as folder,
        ):
            bench = Bench(root=Path(folder), registry=registry, leaves=leaves)
            bench.write()
            # What is stopped from outside removes its images, too, and is not to be kept from it.
            signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
            try:
                bench.prepare()
                for way in ("tree", "named"):
                    for count in (leaves, 1):
                        bench.compare(way, count)
            finally:
                signal.signal(signal.SIGTERM, signal.SIG_IGN)
                bench.clean()


if __name__ == "__main__":
    main()
