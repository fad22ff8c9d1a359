"""Prints this machine's own apt archives as they are for another suite: apt_sources.py SUITE."""

import sys
from pathlib import Path

from builder.core.packages.sources import derive, render_deb822
from builder.engines.bootstrap import read_apt_sources


def main(suite: str) -> int:
    lines = Path("/etc/os-release").read_text(encoding="utf-8").splitlines()
    system = {name: value.strip('"') for name, _, value in (line.partition("=") for line in lines)}
    sources = derive(
        read_apt_sources(Path("/etc/apt")),
        releases=(system.get("VERSION_CODENAME", ""), "stable", "oldstable"),
        suite=suite,
        components=("main",),
    )
    sys.stdout.write(render_deb822(sources))
    return 0 if sources else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
