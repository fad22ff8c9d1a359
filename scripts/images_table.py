"""Keeps the tables of docs/images.md true: images_table.py --check | --write [--sizes].

What a Dockerfile says (process, port, user, base, packages) is read from it. The purpose of an
image is prose and stays as it is; sizes are asked of the engine, by ``--sizes`` alone.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from builder.core.dockerfile.model import Instruction
from builder.core.errors import OcbuildError
from builder.core.graph import ImageGraph
from builder.core.image import Image
from builder.core.options import TreeOptions
from builder.tree.read import Tree, read_tree

PAGE = Path("docs/images.md")
HEADER = "| image | purpose | process | port | user | base | packages | MB | adds MB |"
RULE = "|---|---|---|---|---|---|---|---:|---:|"
NONE = "-"
UNKNOWN = "?"
MOST_NAMES = 5
# What installs packages in a RUN, up to where the command ends.
_INSTALL = re.compile(
    r"^\s*(?:install-packages|install-contrail)((?:[^\n\\&|;]|\\\n)*)", re.MULTILINE
)


@dataclass(frozen=True)
class Row:
    """One image in the table, each cell as it is written."""

    image: str
    purpose: str
    process: str
    port: str
    user: str
    base: str
    packages: str
    size: str
    adds: str

    def __str__(self) -> str:
        return f"| {' | '.join(vars(self).values())} |"

    @classmethod
    def read(cls, line: str) -> Row:
        return cls(*(cell.strip() for cell in line.strip().strip("|").split("|")))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", help="bring the page up to date")
    parser.add_argument("--check", action="store_true", help="exit 1 if it is not")
    parser.add_argument("--sizes", action="store_true", help="ask the engine for the sizes, too")
    options = parser.parse_args()
    try:
        tree = read_tree(TreeOptions())
    except OcbuildError as error:
        sys.stderr.write(f"{error.message}\n")
        return error.exit_code
    text = PAGE.read_text(encoding="utf-8")
    made = page(text, tree, sizes(tree) if options.sizes else {})
    if options.write:
        PAGE.write_text(made, encoding="utf-8")
    elif made != text:
        sys.stderr.write(
            f"{PAGE} is not what the Dockerfiles say: scripts/images_table.py --write\n"
        )
        return 1
    return 0


def page(text: str, tree: Tree, megabytes: Mapping[str, float]) -> str:
    """The page with every table brought up to date: the one below "## GROUP" is that group's."""
    lines: list[str] = []
    group, old = "", dict[str, Row]()
    rows = [Row.read(line) for line in text.splitlines() if re.match(r"\| [a-z]", line)]
    old = {row.image: row for row in rows if row.image in tree.graph.images}
    inside = False
    for line in text.splitlines():
        if line.startswith("## "):
            group = line.removeprefix("## ").strip("`/ ")
        if line == HEADER:
            inside = True
            names = [name for name in tree.graph.order if tree.graph[name].group == group]
            lines += [HEADER, RULE]
            lines += [
                str(row(tree.graph, name, old.get(name), megabytes))
                for name in sorted_by_base(tree.graph, names)
            ]
        elif not inside or not line.startswith("|"):
            inside = False
            lines.append(line)
    return "\n".join(lines) + "\n"


def sorted_by_base(graph: ImageGraph, names: list[str]) -> Iterator[str]:
    """Each image before those that start from it, and these right below it."""
    starts: dict[str, list[str]] = {}
    for name in sorted(names):
        starts.setdefault(_base(graph[name]), []).append(name)

    def below(name: str) -> Iterator[str]:
        yield name
        for child in starts.get(name, ()):
            yield from below(child)

    for name in sorted(names):
        if _base(graph[name]) not in names:
            yield from below(name)


def row(graph: ImageGraph, name: str, old: Row | None, megabytes: Mapping[str, float]) -> Row:
    image = graph[name]
    base = _base(image)
    found = Row(
        image=name,
        purpose=old.purpose if old else UNKNOWN,
        process=_process(image),
        port=", ".join(_own(image, "EXPOSE")) or NONE,
        user=_last(graph, image, "USER") or "root",
        base=base or "scratch",
        packages=_shortened(_packages(image)) or NONE,
        size=old.size if old else UNKNOWN,
        adds=old.adds if old else UNKNOWN,
    )
    if name in megabytes:
        size = megabytes[name]
        found = replace(found, size=f"{size:.0f}", adds=_small(size - megabytes.get(base, 0.0)))
    return found


def sizes(tree: Tree) -> dict[str, float]:
    """Megabytes of each image that the engine has under its release tag."""
    found = {}
    for name in tree.graph.order:
        done = subprocess.run(
            ["docker", "image", "inspect", tree.refs(name)[0]],
            capture_output=True,
            check=False,
        )
        if done.returncode == 0:
            found[name] = json.loads(done.stdout)[0]["Size"] / 1e6
    return found


def _shortened(names: list[str]) -> str:
    if len(names) <= MOST_NAMES:
        return ", ".join(names)
    shown = names[: MOST_NAMES - 1]
    return f"{', '.join(shown)} and {len(names) - len(shown)} more"


def _small(amount: float) -> str:
    return f"{amount:.0f}" if amount >= 10 else f"{amount:.1f}"


def _base(image: Image) -> str:
    base = image.base or ""
    return image.links.get(base, base)


def _instructions(image: Image) -> tuple[Instruction, ...]:
    return image.source.parsed.stages[image.needs.target].instructions


def _own(image: Image, keyword: str) -> list[str]:
    return [
        word for each in _instructions(image) if each.keyword == keyword for word in each.arguments
    ]


def _last(graph: ImageGraph, image: Image, keyword: str) -> str:
    """What an image has of what is inherited, such as its user."""
    own = _own(image, keyword)
    if own:
        return own[-1]
    base = _base(image)
    return _last(graph, graph[base], keyword) if base in graph.images else ""


def _process(image: Image) -> str:
    """The program that the container ends up as; an image of no process has none."""
    words = _own(image, "CMD")
    if not words:
        return NONE
    return f"`{Path(words[0]).name}`"


def _packages(image: Image) -> list[str]:
    texts = []
    for each in _instructions(image):
        if each.keyword == "RUN":
            texts += [*each.arguments, *(heredoc.content for heredoc in each.heredocs)]
    return [
        word
        for text in texts
        for names in _INSTALL.findall(text)
        for word in names.replace("\\\n", " ").split()
        if not word.startswith(("-", "$", '"'))
    ]


if __name__ == "__main__":
    sys.exit(main())
