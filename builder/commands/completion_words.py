"""The words that a tree, its deployment and its registry add to what can be completed.

Who presses a key waits for the answer and wants no message: what cannot be read adds nothing.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING

from builder.commands.completion import Candidate, Kind
from builder.core.errors import OcbuildError
from builder.core.options import TreeOptions

if TYPE_CHECKING:
    from builder.tree.read import Tree

# How long a registry may take to name its releases.
_PATIENCE = 2.0


def show(candidates: Sequence[Candidate]) -> int:
    sys.stdout.write("".join(f"{one}\n" for one in candidates))
    sys.stdout.flush()
    return 0


def known_words(
    options: TreeOptions, environ: Mapping[str, str]
) -> Callable[[Kind, str], Sequence[Candidate]]:
    """What gives the words of a kind that fit what was typed."""

    @cache
    def tree() -> Tree:
        from builder.tree.read import read_tree  # noqa: PLC0415

        return read_tree(options)

    def find(kind: Kind, current: str) -> Sequence[Candidate]:
        try:
            if kind is Kind.TARGET:
                return list(_targets(tree(), current))
            if kind is Kind.RELEASE:
                return _releases(options, environ)
            return list(_of_deployment(kind, options))
        except OcbuildError:
            return []

    return find


def _targets(tree: Tree, current: str) -> Iterator[Candidate]:
    images = tree.graph.images
    before = "+" if current.startswith("+") else ""
    for name, image in images.items():
        yield Candidate(f"{before}{name}", image.source.directory)
        # Only where it is asked for: it would double the list.
        if current.startswith(f"{before}{name}"):
            yield Candidate(f"{before}{name}+", "and all that is built on it")
    if current.startswith("label:"):
        found = {pair for image in images.values() for pair in image.needs.labels.items()}
        for key, value in sorted(found):
            yield Candidate(f"label:{key}")
            yield Candidate(f"label:{key}={value}")
        return
    for group in tree.config.groups:
        yield Candidate(group, "a group")
    yield Candidate("all", "every image")
    yield Candidate("@changed", "what was edited")
    yield Candidate("@changed+", "what was edited, and all that is built on it")


def _of_deployment(kind: Kind, options: TreeOptions) -> Iterator[Candidate]:
    from builder.tree.read import load_config  # noqa: PLC0415

    settings = load_config(options).deploy
    if kind is Kind.STACK:
        yield from (Candidate(name) for name in settings.stacks)
    elif kind is Kind.HOST:
        yield from (Candidate(name, host.docker) for name, host in settings.hosts.items())


def _releases(options: TreeOptions, environ: Mapping[str, str]) -> Sequence[Candidate]:
    found: list[Candidate] = []

    def ask() -> None:
        from builder.publish.home import open_home  # noqa: PLC0415

        try:
            with open_home(options, environ) as home:
                found.extend(Candidate(tag) for tag in sorted(home.releases.tags()))
        except OcbuildError:
            return

    # A registry that does not answer must not hold up the shell, nor the end of this process.
    asking = threading.Thread(target=ask, daemon=True)
    asking.start()
    asking.join(_PATIENCE)
    return [] if asking.is_alive() else found
