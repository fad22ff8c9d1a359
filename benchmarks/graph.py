"""How long `ocbuild graph all --format json` takes over generated trees, as whole processes.

Run with `make bench-graph` or `python benchmarks/graph.py [SIZE …]`. Twice the images should take
about twice the time; the ratio is printed beside the seconds.
"""

from __future__ import annotations

import random
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

RUNS = 5
SIZES = (2000, 4000)
DOCKERFILE = """\
# image {number}
FROM {base}
LABEL net.juniper.group=g{group} net.juniper.node=controller
ENV NUMBER={number} \\
    KIND=generated
ARG VERSION=1.0
RUN apt-get update && \\
    # what this image is for
    apt-get install -y --no-install-recommends package-{number} \\
    && rm -rf /var/lib/apt/lists/*
COPY entrypoint.sh /entrypoint.sh
WORKDIR /srv/$VERSION
EXPOSE 80
ENTRYPOINT ["/entrypoint.sh"]
CMD ["run", "--number", "{number}"]
"""
BUILD_TOML = """\
[project]
namespace = "generated"

[groups.images]
version = "1.0"
commit = "abcdef0"
"""


def write_tree(root: Path, images: int) -> None:
    """A tree of ``images`` Dockerfiles, a few levels deep, the same for the same number."""
    chance = random.Random(images)  # noqa: S311 - a generated input, not a secret
    (root / "build.toml").write_text(BUILD_TOML)
    for number in range(images):
        folder = root / "images" / f"image-{number:05}"
        folder.mkdir(parents=True)
        parent = chance.randrange(max(1, number // 5))
        base = "debian:12" if number < 10 else f"generated/image-{parent:05}:1.0-abcdef0"
        text = DOCKERFILE.format(number=number, base=base, group=number % 7)
        (folder / "Dockerfile").write_text(text)
        (folder / "entrypoint.sh").write_text('#!/bin/sh\nexec "$@"\n')


def seconds(root: Path) -> float:
    """Wall time of one whole process."""
    argv = [sys.executable, "-m", "builder", "graph", "all", "--format", "json"]
    config = ["--config", str(root / "build.toml")]
    started = time.perf_counter()
    subprocess.run([*argv, *config], check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - started


def main() -> None:
    sizes = tuple(int(word) for word in sys.argv[1:]) or SIZES
    first = 0.0
    for size in sizes:
        with tempfile.TemporaryDirectory() as folder:
            root = Path(folder)
            write_tree(root, size)
            seconds(root)
            runs = sorted(seconds(root) for _ in range(RUNS))
        median = statistics.median(runs)
        first = first or median
        low, high = runs[0], runs[-1]
        print(
            f"{size:6} images  median {median:5.2f} s  ({low:.2f} to {high:.2f})"
            f"  {median / first:4.2f} of the first"
        )


if __name__ == "__main__":
    main()
