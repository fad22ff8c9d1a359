"""How long a run takes that has little to do, beside the same run of an older commit.

Run with `make bench-start` or `python benchmarks/start.py [COMMIT [LEAVES]]`. Each of the two has a
tree of its own, in git, and publishes it to the same registry; all is timed as whole processes, by
turns: a run that changes nothing, one on a new commit without changes, and one with an edited leaf.
Printed are medians, in milliseconds, and what the newer takes of the older's time and of its time
on processors, which a machine that does other things as well disturbs less. Needed is what
`make bench-assembler` needs; an older commit that needs other packages than this one gets them
by BENCH_PYTHON, the interpreter of an environment that has them.
"""

from __future__ import annotations

import os
import resource
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
from assembler import DATA, Bench

from tests.support.registry import LocalRegistry

OLD = "9d40d2c"
LEAVES = 36
RUNS = 9
HERE = Path(__file__).resolve().parents[1]
ROWS = ("no-op", "retag", "one leaf")


def git(folder: Path, *words: str) -> str:
    name = ("-c", "user.name=bench", "-c", "user.email=bench@example.org")
    argv = ["git", *name, *words]
    done = subprocess.run(argv, cwd=folder, check=False, capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"{' '.join(argv)}: {done.stderr.strip()}")
    return done.stdout.strip()


@contextmanager
def checkout(commit: str, folder: Path) -> Iterator[Path]:
    """The source of a commit, for as long as the block runs."""
    git(HERE, "worktree", "add", "--quiet", "--detach", str(folder), commit)
    try:
        yield folder
    finally:
        git(HERE, "worktree", "remove", "--force", str(folder))


def bench(source: Path, python: str, folder: Path, registry: LocalRegistry, leaves: int) -> Bench:
    """A published tree in git; ``source`` is the ocbuild that is to work on it."""
    tree = Bench(
        root=folder / "tree",
        registry=registry,
        leaves=leaves,
        namespace=f"start-{folder.name}",
        commit="",
        program=(python, "-m", "builder"),
        environ={"PYTHONPATH": str(source), "OCBUILD_STATE": str(folder / "state")},
    )
    tree.root.mkdir(parents=True)
    tree.write()
    (tree.root / ".gitignore").write_text(".ocbuild/\n")
    git(tree.root, "init", "--quiet")
    commit(tree)
    tree.ocbuild("all")
    return tree


def commit(tree: Bench) -> None:
    git(tree.root, "add", "--all")
    git(tree.root, "commit", "--quiet", "--allow-empty", "--message", "more")


def prepare(tree: Bench, row: str) -> None:
    if row == "one leaf":
        tree.edit(1)
    if row != "no-op":
        commit(tree)


def measure(tree: Bench) -> tuple[float, float]:
    """Milliseconds that a run takes, and those that it has a processor."""
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    tree.ocbuild("all")
    took, after = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_CHILDREN)
    busy = after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime
    return took * 1000, busy * 1000


def compare(old: Bench, new: Bench) -> None:
    took: dict[str, list[list[tuple[float, float]]]] = {row: [[], []] for row in ROWS}
    for number in range(RUNS):
        for row in ROWS:
            pair = list(zip((old, new), took[row], strict=True))
            for tree, times in pair if number % 2 else reversed(pair):
                prepare(tree, row)
                times.append(measure(tree))
    for row, both in took.items():
        (before, busy_before), (after, busy_after) = map(medians, both)
        print(
            f"{row:8}  old {before:5.0f} (busy {busy_before:4.0f})"
            f"  new {after:5.0f} (busy {busy_after:4.0f})"
            f"  new/old {after / before:5.2f} (busy {busy_after / busy_before:5.2f})"
        )


def medians(times: list[tuple[float, float]]) -> tuple[float, float]:
    took, busy = zip(*times, strict=True)
    return statistics.median(took), statistics.median(busy)


def main(words: list[str]) -> None:
    older = words[0] if words else OLD
    leaves = int(words[1]) if len(words) > 1 else LEAVES
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    with tempfile.TemporaryDirectory() as name, LocalRegistry(quick=True, parent=DATA) as registry:
        folder = Path(name)
        with checkout(older, folder / "source") as source:
            python = os.environ.get("BENCH_PYTHON", sys.executable)
            old = bench(source, python, folder / "old", registry, leaves)
            new = bench(HERE, sys.executable, folder / "new", registry, leaves)
            try:
                print(f"{leaves} leaves, in git; {older} beside the working tree, {RUNS} runs, ms")
                compare(old, new)
            finally:
                old.clean()
                new.clean()


if __name__ == "__main__":
    main(sys.argv[1:])
