"""Prints the figures of the house: `make shape`, or `scripts/shape.py FOLDER` for any checkout."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.support.house import House
from tests.unit.test_law import LONGEST_FUNCTION, LONGEST_MODULE, long as too_long, upward

STACKS = ("aiohttp", "http.client", "httptools", "httpx", "pycurl", "urllib.request", "urllib3")
STORIES = ("builder.commands.build", "builder.pipeline")


def stacks(house: House) -> list[str]:
    """The libraries that HTTP is spoken with, besides the docker SDK and what it is made of."""
    others = [module for module in house.modules if module.name != "builder.docker.sdk"]
    used = {name for module in others for name, _ in house.imports(module)}
    return [stack for stack in STACKS if any(f"{name}.".startswith(f"{stack}.") for name in used)]


def figures(house: House) -> dict[str, str]:
    """What is counted, in words, and the figure of it."""
    lines = {module.name: module.code_lines() for module in house.modules}
    code = sum(own for _, own in lines.values())
    core = sum(lines[module.name][1] for module in house.modules if module.package == "core")
    long = [None for module in house.modules for _ in too_long(house, module)]
    large = [module for module in house.modules if len(module.text.splitlines()) > LONGEST_MODULE]
    story = next(module for module in house.modules if module.name in STORIES)
    build = next(last - first + 1 for name, first, last in story.functions if name == "build")
    repeated = house.repeated_classes()
    speaks = stacks(house)
    return {
        "entries in builder/": f"{house.entries}",
        "modules": f"{len(house.modules)}",
        "lines of code": f"{code} and {sum(imports for imports, _ in lines.values())} of imports",
        "of it in the core": f"{core / code:.1%}",
        "upward imports": f"{sum(len(list(upward(house, module))) for module in house.modules)}",
        "circles of imports": "none" if not house.circle() else "at least one",
        f"lines of {story.name}.build": f"{build}",
        "class names used more than once": ", ".join([str(len(repeated)), *repeated]),
        "HTTP stacks": ", ".join([str(len(speaks)), *speaks]),
        "PLC0415": f"{sum(module.text.count('PLC0415') for module in house.modules)}",
        f"functions over {LONGEST_FUNCTION} lines": f"{len(long)}",
        f"modules over {LONGEST_MODULE} lines": f"{len(large)}",
    }


def main() -> None:
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parents[1]
    shown = figures(House(folder.resolve()))
    width = max(len(name) for name in shown)
    for name, figure in shown.items():
        sys.stdout.write(f"{name:{width}}  {figure}\n")


if __name__ == "__main__":
    main()
