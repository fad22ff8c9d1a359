"""The completion of shells: the scripts that ask, and the answer out of table, tree and registry.

Who presses a key waits for the answer and wants no message: what cannot be read adds nothing.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING

from builder.core.command_line import SCRIPTS, Candidate, KnownWords, complete
from builder.core.errors import OcbuildError
from builder.core.options import CompletionOptions, TreeOptions, WordKind

if TYPE_CHECKING:
    from builder.tree.read import Tree

# How long a registry may take to name its releases.
_PATIENCE = 2.0


def completion(options: CompletionOptions, _environ: Mapping[str, str]) -> int:
    """Print the script that has a shell ask ``complete_words``."""
    sys.stdout.write(SCRIPTS[options.shell])
    return 0


def complete_words(words: Sequence[str], environ: Mapping[str, str]) -> int:
    """What the shell asks when a key is pressed; of the tree it is as if no option were given."""
    candidates = complete(words, known_words(TreeOptions(), environ))
    sys.stdout.write("".join(f"{candidate}\n" for candidate in candidates))
    sys.stdout.flush()
    return 0


def known_words(options: TreeOptions, environ: Mapping[str, str]) -> KnownWords:
    """What gives the words of a kind that fit what was typed."""

    @cache
    def tree() -> Tree:
        from builder.tree.read import read_tree  # noqa: PLC0415 - 65 ms, and not for every word

        return read_tree(options)

    def find(kind: WordKind, current: str) -> Sequence[Candidate]:
        try:
            if kind is WordKind.TARGET:
                return list(_targets(tree(), current))
            if kind is WordKind.RELEASE:
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
        labels = {pair for image in images.values() for pair in image.needs.labels.items()}
        for key, value in sorted(labels):
            yield Candidate(f"label:{key}")
            yield Candidate(f"label:{key}={value}")
        return
    for group in tree.config.groups:
        yield Candidate(group, "a group")
    yield Candidate("all", "every image")
    yield Candidate("@changed", "what was edited")
    yield Candidate("@changed+", "what was edited, and all that is built on it")


def _of_deployment(kind: WordKind, options: TreeOptions) -> Iterator[Candidate]:
    from builder.tree.read import load_config  # noqa: PLC0415 - as above

    settings = load_config(options).deploy
    if kind is WordKind.STACK:
        yield from (Candidate(name) for name in settings.stacks)
    elif kind is WordKind.HOST:
        yield from (Candidate(name, host.docker) for name, host in settings.hosts.items())


def _releases(options: TreeOptions, environ: Mapping[str, str]) -> Sequence[Candidate]:
    releases: list[Candidate] = []

    def ask() -> None:
        from builder.publish.home import open_home  # noqa: PLC0415 - 80 ms more

        try:
            with open_home(options, environ) as home:
                releases.extend(Candidate(tag) for tag in sorted(home.releases.tags()))
        except OcbuildError:
            return

    # A registry that does not answer must not hold up the shell, nor the end of this process.
    asking = threading.Thread(target=ask, daemon=True)
    asking.start()
    asking.join(_PATIENCE)
    return [] if asking.is_alive() else releases
