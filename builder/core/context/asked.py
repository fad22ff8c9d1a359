r"""What of a context BuildKit asks for, before any COPY looks for its source.

It reads the sources as moby patterns and gets what they match, so two things can be had by no
build: a name that does not match itself as a pattern (``a\*b``), and some links behind wildcards.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from itertools import chain

from builder.core.context.tree import ContextTree
from builder.core.match.globs import (
    BadPatternError,
    Match,
    clean,
    compile_glob,
    compile_pattern,
    has_wildcard,
)
from builder.core.match.ignore import ancestry


class Asked:
    """The paths that all sources of a build ask for; "" asks for everything."""

    def __init__(self, tree: ContextTree, sources: Iterable[str]) -> None:
        self._tree = tree
        patterns: set[str] = set()
        for source in sorted(sources, key=_as_bytes):
            _ask(tree, source, patterns)
        self._everything = "" in patterns
        self._tests: list[Match] = []
        for pattern in patterns:
            with suppress(BadPatternError):  # raised where the source is resolved
                self._tests.append(compile_pattern(pattern))

    def has(self, path: str) -> bool:
        """Whether the path or a folder above it is asked for."""
        return self._everything or any(
            test(part) for part in ancestry(path) for test in self._tests
        )

    def has_any_in(self, folder: str) -> bool:
        """Whether the folder or anything in it is asked for, so that the folder itself is there."""
        if self._everything or not folder:
            return True
        return any(map(self.has, chain((folder,), self._tree.sent_below(folder))))


def _as_bytes(path: str) -> bytes:
    """The path as Go sorts it."""
    return path.encode("utf-8", "surrogateescape")


def _ask(tree: ContextTree, path: str, patterns: set[str]) -> None:
    """Add what fsutil's ``FollowLinks`` makes of a source: the path, and where its links lead.

    A wildcard that finds a link anywhere asks for all that it matches, whatever comes after it; a
    later source that goes through the same wildcard is not followed again. Hence the order matters.
    """
    parts = path.split("/")
    for count in range(1, len(parts) + 1):
        current = "/".join(parts[:count])
        targets = _link_targets(tree, current)
        if not targets and count < len(parts):
            continue
        if current not in patterns:
            patterns.add(current)
            for target in targets:
                _ask(tree, clean("/".join(["", target, *parts[count:]]))[1:], patterns)
        return


def _link_targets(tree: ContextTree, path: str) -> list[str]:
    folder, _, name = path.rpartition("/")
    candidates = [path]
    if has_wildcard(name):
        matches = compile_glob(name).matches
        matching = (other for other in tree.names(folder) if matches(other))
        candidates = [f"{folder}/{other}" if folder else other for other in matching]
    entries = (tree.entry(candidate) for candidate in candidates)
    links = [entry.link for entry in entries if entry is not None and entry.kind == "link"]
    return [link if link.startswith("/") else f"/{folder}/{link}" for link in links]
