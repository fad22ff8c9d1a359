"""Proposes a build.toml for a tree that has none: what ``ocbuild init`` writes."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from builder.commands.init_groups import FoundGroup, find_groups, find_images, in_tree_bases
from builder.config.toml_lines import quoted, quoted_key
from builder.core.errors import ConfigError, Location

_HEAD = """\
# What ocbuild builds here, and under which names. Proposed by `ocbuild init` from what the folders
# and the FROM lines say; `ocbuild list` shows what comes of it. All keys: docs/build-toml.md.

[project]
"""
_TAIL = """\

# [images.NAME]                  # what is special about one image
# test = ["program --version"]   # has to succeed before the image may be published

# [bases."debian:trixie-slim"]   # where an external base comes from
# mirror = "registry.example.com/library/debian:trixie-slim"
"""


def propose(root: Path) -> str:
    """The text of a build.toml for the image directories below ``root``; it loads as it is.

    Raises:
        ConfigError: there is no Dockerfile.

    """
    images = find_images(root)
    if not images:
        raise ConfigError(
            "there is no Dockerfile in this folder or below it",
            where=Location(str(root)),
            hint="an image is a folder with a Dockerfile; run `ocbuild init` at the top of them",
        )
    groups = find_groups(images)
    sure = [group for group in groups if group.doubt is None]
    lines = [*_project(sure, root), *(line for group in groups for line in _section(group))]
    return _HEAD + "\n".join(lines) + "\n" + _TAIL


def _project(groups: Sequence[FoundGroup], root: Path) -> Iterator[str]:
    names = {name for group in groups for name in group.names}
    used = list(in_tree_bases((image for group in groups for image in group.images), names))
    counts = Counter(base.namespace for base in used)
    ranked = sorted(counts, key=lambda namespace: (-counts[namespace], namespace))
    if ranked:
        best = ranked[0]
        yield f"namespace = {quoted(best)}  # FROM lines name images of this tree by it"
        if any(base.registry for base in used if base.namespace == best):
            yield f"aliases = {_list([best])}  # so that it is this tree's on any registry"
        if ranked[1:]:
            yield f"# aliases = {_list(ranked[1:])}  # if these, too, mean images of this tree"
    else:
        yield f"namespace = {quoted(_namespace(root))}  # the name of the folder; no FROM gives one"
    yield 'registry = "local"  # the one that ocbuild runs itself; or "registry.example.com:5000"'
    yield '# tag = "{version}-{commit}"'


def _namespace(root: Path) -> str:
    name = re.sub(r"[^a-z0-9]+", "-", root.resolve().name.lower()).strip("-")
    return name if name not in ("", "localhost") else "images"


def _list(texts: Iterable[str]) -> str:
    return f"[{', '.join(quoted(text) for text in texts)}]"


def _section(group: FoundGroup) -> Iterator[str]:
    count = len(group.images)
    size = f"{count} image{'' if count == 1 else 's'}"
    yield ""
    if group.doubt is not None:
        yield f"# Left out, with {size}: {group.doubt}."
        yield from (f"# {line}" for line in _keys(group, size=""))
    else:
        yield from _keys(group, size=size)


def _keys(group: FoundGroup, *, size: str) -> Iterator[str]:
    path = group.path.as_posix()
    yield f"[groups.{quoted_key(group.name)}]" + (f"  # {size}" if size else "")
    if path != group.name:
        yield f"path = {quoted(path)}"
    if group.version is not None:
        yield f"version = {quoted(group.version)}"
    else:
        yield '# version = "1.0"  # makes tags such as 1.0-0123abc out of 0123abc'
    if group.commit is not None:
        yield f"commit = {quoted(group.commit)}  # leave it out to use that of git"
    if group.tag is not None:
        yield f"tag = {quoted(group.tag)}  # as the FROM lines have it"
    if group.rule is not None:
        yield f"name = {quoted(group.rule)}  # or else two folders of one name would be one image"
