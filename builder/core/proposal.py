"""Proposes a build.toml for a tree that has none: its folders become groups."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from itertools import chain, count
from pathlib import PurePosixPath

from msgspec import Struct
from msgspec.structs import replace

from builder.core.reference import Reference
from builder.core.text import quoted, quoted_key

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


_VERSION = re.compile(r"v?\d+(?:\.\d+)*(?:[-_.]?(?:a|b|rc|alpha|beta)\d*)?")
_COMMIT = re.compile(r"(?=.*[0-9])(?=.*[a-f])[0-9a-f]{7,40}")
_VERSION_AND_COMMIT = re.compile(r"(.+)-([0-9a-f]{7,40})")
_TAG_WITHOUT_VERSION = frozenset({"", "latest"})


class FoundImage(Struct, frozen=True, kw_only=True):
    """An image directory, relative to the root, and all that its FROM lines name."""

    folder: PurePosixPath
    bases: tuple[Reference, ...]


class FoundGroup(Struct, frozen=True, kw_only=True):
    """A folder that can be a group; ``rule`` is a naming rule, ``tag`` a tag rule, if needed.

    ``doubt`` says why the group should rather be left out.
    """

    path: PurePosixPath
    name: str
    images: tuple[FoundImage, ...]
    version: str | None = None
    commit: str | None = None
    rule: str | None = None
    tag: str | None = None
    doubt: str | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """What its images are called without a naming rule."""
        return tuple(image.folder.name for image in self.images)


def in_tree_bases(images: Iterable[FoundImage], names: Collection[str]) -> Iterator[Reference]:
    """The bases with a namespace and the name of an image directory; "library" is the Hub's own."""
    for image in images:
        for base in image.bases:
            if base.namespace not in ("", "library") and base.name in names:
                yield base


def find_groups(images: Sequence[FoundImage]) -> tuple[FoundGroup, ...]:
    """The groups that the images fall into, sorted by folder."""
    names = {image.folder.name for image in images}
    used = list(in_tree_bases(images, names))
    versions = {base.tag for base in used} - _TAG_WITHOUT_VERSION
    members: dict[PurePosixPath, list[FoundImage]] = {}
    for image in images:
        members.setdefault(_group_folder(image.folder, versions), []).append(image)
    groups = [_group(path, inside, versions) for path, inside in _joined(members, versions).items()]
    judged = _without_clashes(_without_overlap(groups))
    return tuple(sorted((_with_tag(group, used) for group in judged), key=lambda g: g.path))


def _group_folder(folder: PurePosixPath, versions: Collection[str]) -> PurePosixPath:
    """Down to the version and the commit in the path, else the topmost folder."""
    above = folder.parent.parts
    for depth, part in enumerate(above, start=1):
        if _COMMIT.fullmatch(part):
            return PurePosixPath(*above[:depth])
        if _is_version(part, versions):
            has_commit = depth < len(above) and _COMMIT.fullmatch(above[depth])
            return PurePosixPath(*above[: depth + 1 if has_commit else depth])
    return PurePosixPath(*above[:1])


def _is_version(part: str, versions: Collection[str]) -> bool:
    return part in versions or _VERSION.fullmatch(part) is not None


def _joined(
    members: Mapping[PurePosixPath, list[FoundImage]], versions: Collection[str]
) -> dict[PurePosixPath, list[FoundImage]]:
    """Image directories right at the top make the whole tree one group, if it has no versions."""
    top = PurePosixPath()
    if top not in members or any(_version_and_commit(path, versions) for path in members):
        return dict(members)
    return {top: [image for inside in members.values() for image in inside]}


def _version_and_commit(path: PurePosixPath, versions: Collection[str]) -> tuple[str, ...]:
    """The end of the path: nothing, a version, a commit, or both."""
    parts = path.parts
    start = len(parts)
    if start and _COMMIT.fullmatch(parts[start - 1]):
        start -= 1
    if start and _is_version(parts[start - 1], versions):
        start -= 1
    return parts[start:]


def _group(
    path: PurePosixPath, images: Sequence[FoundImage], versions: Collection[str]
) -> FoundGroup:
    end = _version_and_commit(path, versions)
    stem = path.parts[: len(path.parts) - len(end)]
    commit = end[-1] if end and _COMMIT.fullmatch(end[-1]) else None
    version = end[0] if end and end[0] != commit else None
    group = FoundGroup(
        path=path,
        name=_legal(stem[-1] if stem else version or "images"),
        images=tuple(images),
        version=version,
        commit=commit,
    )
    # Folders of one name need the folders above them in their name.
    return replace(group, rule="{path}") if _repeated(group.names) else group


def _legal(name: str) -> str:
    legal = re.sub(r"[^A-Za-z0-9._-]+", "-", name).lstrip("._-")
    return legal if legal not in ("", "all") else "images"


def _repeated(names: Iterable[str]) -> list[str]:
    return sorted(name for name, times in Counter(names).items() if times > 1)


def _without_overlap(groups: Sequence[FoundGroup]) -> list[FoundGroup]:
    """Of two groups of which one lies in the other, the one with fewer images is in doubt."""
    judged: list[FoundGroup] = []
    for group in sorted(groups, key=lambda group: -len(group.images)):
        rival = next(
            (
                other
                for other in judged
                if other.doubt is None
                and (group.path in other.path.parents or other.path in group.path.parents)
            ),
            None,
        )
        doubt = f"its folder overlaps with that of group {rival.name}" if rival else None
        judged.append(replace(group, doubt=doubt))
    return judged


def _without_clashes(groups: Iterable[FoundGroup]) -> list[FoundGroup]:
    """Give every group a name and its images names that no other has; doubt mere copies."""
    judged: list[FoundGroup] = []
    taken: dict[str, str] = {}
    for group in _newest_first(groups):
        if group.doubt is not None:
            judged.append(group)
            continue
        unique = _with_name(group, judged)
        clashes = sorted(set(unique.names) & taken.keys()) if unique.rule is None else []
        if 2 * len(clashes) > len(unique.names):
            doubt = f"group {taken[clashes[0]]} has images of the same names, such as {clashes[0]}"
            judged.append(replace(group, doubt=doubt))
            continue
        if clashes:
            unique = replace(unique, rule=f"{unique.name.lower()}-{{dir}}")
        taken.update({} if unique.rule else dict.fromkeys(unique.names, unique.name))
        judged.append(unique)
    return judged


def _newest_first(groups: Iterable[FoundGroup]) -> list[FoundGroup]:
    """By name, and those of one name by version, the newest first."""
    by_path = sorted(groups, key=lambda group: group.path)
    newest = sorted(by_path, key=lambda group: _sortable(group.version or ""), reverse=True)
    return sorted(newest, key=lambda group: group.name)


def _sortable(version: str) -> list[tuple[str, int]]:
    """``3.10`` after ``3.9``."""
    return [(text, int(number or 0)) for text, number in re.findall(r"(\D*)(\d*)", version)]


def _with_name(group: FoundGroup, others: Iterable[FoundGroup]) -> FoundGroup:
    names = {other.name for other in others if other.doubt is None}
    longer = _legal("-".join(group.path.parts))
    numbered = (f"{longer}-{number}" for number in count(2))
    free = next(name for name in chain([group.name, longer], numbered) if name not in names)
    return replace(group, name=free)


def _with_tag(group: FoundGroup, used: Iterable[Reference]) -> FoundGroup:
    """The version and the tag rule that fit the tags by which Dockerfiles name its images."""
    tags = Counter(base.tag for base in used if base.name in group.names)
    for tag in _TAG_WITHOUT_VERSION:
        del tags[tag]
    if not tags:
        return group
    tag = min(tags, key=lambda tag: (-tags[tag], tag))
    match = _VERSION_AND_COMMIT.fullmatch(tag)
    version = group.version or (match[1] if match else tag)
    return replace(group, version=version, tag="{version}" if tag == version else None)


# --- text -----------------------------------------------------------------------------------------


def proposal(images: Sequence[FoundImage], folder: str) -> str:
    """The text of a build.toml for these images of a folder of that name; it loads as it is."""
    groups = find_groups(images)
    sure = [group for group in groups if group.doubt is None]
    lines = [*_project(sure, folder), *(line for group in groups for line in _section(group))]
    return _HEAD + "\n".join(lines) + "\n" + _TAIL


def _project(groups: Sequence[FoundGroup], folder: str) -> Iterator[str]:
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
        namespace = quoted(_namespace(folder))
        yield f"namespace = {namespace}  # the name of the folder; no FROM gives one"
    yield 'registry = "local"  # the one that ocbuild runs itself; or "registry.example.com:5000"'
    yield '# tag = "{version}-{commit}"'


def _namespace(folder: str) -> str:
    name = re.sub(r"[^a-z0-9]+", "-", folder.lower()).strip("-")
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
