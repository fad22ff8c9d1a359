"""COPY, ADD and WORKDIR on a file system, as BuildKit does them (``fsutil/copy.Copy``).

Where BuildKit would fail (a file on a folder, a folder on a link), ``Refused`` is raised: an engine
then fails with its own message.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from builder.core.assemble import Refused
from builder.core.assemble.files import Files, Node, Owner, apart, whole
from builder.core.assemble.index import LINKED
from builder.core.match.globs import clean, compile_glob, has_wildcard


class Source(NamedTuple):
    """One thing to copy: ``name`` is what it is called in a destination folder.

    ``below`` is what a folder holds, by paths relative to it, each folder before its content.
    """

    name: str
    node: Node
    below: Sequence[tuple[str, Node]] = ()


def destination(workdir: str, written: str) -> str:
    """The destination as an absolute path; a "/" or "/." at its end says that it is a folder."""
    workdir = workdir or "/"
    if not written:
        path = workdir
    elif written.startswith("/"):
        path = written
    else:
        path = clean(f"{workdir}/{written}")
    if written in ("", ".") or written.endswith("/"):
        path += "/"
    found = clean(path)
    if path.endswith("/"):
        return found if found == "/" else f"{found}/"
    if path.endswith("/."):
        return f"{'' if found == '/' else found}/."
    return found


def copy(
    files: Files, sources: Sequence[Source], target: str, *, owner: Owner | None, mode: int | None
) -> None:
    """Put the sources where ``destination`` says; ``mode`` is that of ``--chmod``."""
    for source in sources:
        _copy_one(files, source, target, owner, mode)


def make_workdir(files: Files, path: str, owner: Owner | None) -> None:
    if path != "/":
        files.make_folders(files.resolve(path[1:]), owner)


def _copy_one(
    files: Files, source: Source, target: str, owner: Owner | None, mode: int | None
) -> None:
    head, _, tail = target.rpartition("/")
    files.make_folders(files.resolve(head if tail not in ("", ".") else target), owner)
    place = files.resolve(target)
    there = files.find(place)
    is_folder = source.node.kind == "dir"
    if not is_folder and there is not None and there.kind == "dir":
        if not source.name:
            raise Refused("a source has no name")
        place = f"{place}/{source.name}".lstrip("/")
    files.make_folders(
        place if is_folder and there is None else place.rpartition("/")[0],
        owner,
    )
    if not is_folder:
        _put_file(files, place, source.node, owner, mode)
        return
    if there is not None and there.kind != "dir":
        raise Refused(f'"/{place}" is no folder')
    for path, node in source.below:
        _put_below(files, f"{place}/{path}".lstrip("/"), node, owner, mode)


def _put_below(files: Files, path: str, node: Node, owner: Owner | None, mode: int | None) -> None:
    if node.kind != "dir":
        _put_file(files, path, node, owner, mode)
        return
    there = files.find(path)
    if there is not None and there.kind != "dir":
        raise Refused(f'"/{path}" is no folder')
    files.put(path, _owned(node, owner, mode))


def _put_file(files: Files, path: str, node: Node, owner: Owner | None, mode: int | None) -> None:
    there = files.find(path)
    if there is not None and there.kind == "dir":
        raise Refused(f'"/{path}" is a folder')
    files.put(path, _owned(node, owner, mode))


def _owned(node: Node, owner: Owner | None, mode: int | None) -> Node:
    uid, gid = owner or (node.uid, node.gid)
    own_mode = node.mode if mode is None or node.kind == "link" else mode
    return node._replace(uid=uid, gid=gid, mode=own_mode)


# -- sources in another file system -------------------------------------------------------------


def sources_in(files: Files, written: str) -> list[Source]:
    """What a source of ``COPY --from`` stands for in the file system of a stage or an image.

    Raises:
        Refused: there is no such thing, or a copy of it cannot be known to be exact.

    """
    path = clean(f"/{written}")[1:]
    if not has_wildcard(path):
        return [_source(files, path)]
    parts = path.split("/")
    fixed = next(number for number, part in enumerate(parts) if has_wildcard(part))
    folder = files.resolve("/".join(parts[:fixed]))
    found = files.find(folder)
    if found is None or found.kind != "dir":
        raise Refused(f'there is no folder "/{folder}" to copy from')
    glob = compile_glob("/".join(parts[fixed:]))
    matches = _matching(files, folder, folder, glob.matches)
    return without_links([_source(files, match) for match in matches], written)


def without_links(sources: list[Source], written: str) -> list[Source]:
    """What a wildcard has found; BuildKit also follows the links in it, and fails if one is broken.

    Raises:
        Refused: there are links.

    """
    for source in sources:
        for path, node in source.below:
            if node.kind == "link":
                raise Refused(f'"{written}" finds the link "{source.name}/{path}"')
    return sources


def _matching(files: Files, base: str, folder: str, matches: object) -> Iterator[str]:
    for name in files.names(folder):
        path = f"{folder}/{name}".lstrip("/")
        if callable(matches) and matches(path[len(base) :].lstrip("/")):
            yield path
            continue
        node = files.find(path)
        if node is not None and node.kind == "dir":
            yield from _matching(files, base, path, matches)


def _source(files: Files, path: str) -> Source:
    place = files.resolve(path)
    node = files.find(place)
    if node is None:
        raise Refused(f'there is no "/{path}" to copy')
    below = tuple(_below(files, place, "")) if node.kind == "dir" else ()
    apart(below)
    below = tuple((inner, _alone(each)) for inner, each in below)
    return Source(path.rpartition("/")[2], _alone(whole(node, place)), below)


def _alone(node: Node) -> Node:
    """The same as a file that has no other name."""
    return node._replace(marks=node.marks.replace(LINKED, "")) if node.marks else node


def _below(files: Files, folder: str, inner: str) -> Iterator[tuple[str, Node]]:
    for name in files.names(folder):
        path = f"{folder}/{name}".lstrip("/")
        node = files.find(path)
        if node is None:
            raise Refused(f'"/{path}" is there and not there')
        relative = f"{inner}/{name}".lstrip("/")
        yield relative, whole(node, path)
        if node.kind == "dir":
            yield from _below(files, path, relative)
