"""The file system that a stage works on: layers below, and what the stage has put on top.

Follows symbolic links and makes folders as BuildKit does:
https://github.com/containerd/continuity/blob/main/fs/path.go (``RootPath``) and
https://github.com/tonistiigi/fsutil/blob/master/copy/mkdir.go (``MkdirAll``). Paths that are given
or returned have no slash at either end.
"""

from __future__ import annotations

import re
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import NamedTuple

from builder.core.assemble import Content, ContentReader, InLayer, Refused
from builder.core.assemble.index import ACCOUNTS, CAPABLE, LINKED, LayerEntry, Layers
from builder.core.globs import clean

_MOST_LINKS = 255


class Owner(NamedTuple):
    uid: int
    gid: int


class Node(NamedTuple):
    """One thing in a file system; ``content`` is that of a file.

    ``marks`` and ``capability`` are as in an index.
    """

    kind: str
    mode: int
    uid: int
    gid: int
    size: int = 0
    link: str = ""
    content: Content | None = None
    marks: str = ""
    capability: str = ""


ROOT = Node("dir", 0o755, 0, 0)


class Below:
    """The layers of a base image; ``digests`` are those of the blobs, in the same order.

    ``layers`` is asked for once, and not before something has to be known of a file: to read a
    layer through takes seconds, and many images change no file.
    """

    def __init__(
        self, layers: Callable[[], Layers] = lambda: Layers(()), digests: Sequence[str] = ()
    ) -> None:
        self._make = layers
        self._digests = digests

    @cached_property
    def _layers(self) -> Layers:
        return self._make()

    @property
    def empty(self) -> bool:
        return not self._digests

    def find(self, path: str) -> Node | None:
        found = self._layers.find(path)
        if found is None:
            return None
        entry = found.entry
        content = None
        if entry.kind == "file":
            content = InLayer(layer=self._digests[found.layer], path=entry.stored or path)
        return _node(entry, content)

    def names(self, folder: str) -> list[str]:
        return self._layers.names(folder)

    def account(self, path: str) -> str | None:
        """The content of passwd or group as the index has it."""
        found = self._layers.find(path)
        return None if found is None else self._layers.account(path, found.layer)


def _node(entry: LayerEntry, content: Content | None) -> Node:
    return Node(
        entry.kind,
        entry.mode,
        entry.uid,
        entry.gid,
        entry.size,
        entry.link,
        content,
        entry.marks,
        entry.capability,
    )


class StageFiles:
    """What a stage sees, and its changes."""

    def __init__(self, below: Below, changes: Mapping[str, Node] | None = None) -> None:
        self.below = below
        self._changes = dict(changes or {})

    @property
    def changes(self) -> Mapping[str, Node]:
        return self._changes

    @property
    def empty(self) -> bool:
        return self.below.empty and not self._changes

    def child(self) -> StageFiles:
        """The same for a stage that is built on this one."""
        return StageFiles(self.below, self._changes)

    def find(self, path: str) -> Node | None:
        """What is at a path whose folders are no links."""
        if not path:
            return ROOT
        changed = self._changes.get(path)
        return self.below.find(path) if changed is None else changed

    def names(self, folder: str) -> list[str]:
        """The names in a folder, in the order in which an engine reads it."""
        prefix = f"{folder}/" if folder else ""
        start = len(prefix)
        own = {
            path[start:]
            for path in self._changes
            if path.startswith(prefix) and "/" not in path[start:]
        }
        return sorted(
            own.union(self.below.names(folder)),
            key=lambda name: name.encode("utf-8", "surrogateescape"),
        )

    def put(self, path: str, node: Node) -> None:
        self._changes[path] = node

    # -- links ---------------------------------------------------------------------------------

    def resolve(self, path: str) -> str:
        """Where a path leads, links followed to the end; what is not there may follow.

        Raises:
            Refused: it goes through a file, in a circle, or where BuildKit may leave the image.

        """
        text = clean(f"/{path}")
        walked = 0
        while True:
            text, links = self._walk(text, walked)
            if links == walked:
                text = clean(f"/{text}")
                return text[1:]
            walked = links

    def _walk(self, path: str, walked: int) -> tuple[str, int]:
        """Each part followed once, as ``walkLinks`` does; the rest is for the next round."""
        path = clean(f"/{path}")
        if path == "/":
            return path, walked
        folder, _, name = path.rpartition("/")
        folder, walked = self._walk(folder, walked)
        current = clean(f"{folder}/{name}")
        node = self._at(current[1:])
        if node is None or node.kind != "link":
            return current, walked
        if walked == _MOST_LINKS:
            raise Refused(f'the links of "{path}" lead in a circle')
        target = node.link
        if target.startswith("/"):
            return target, walked + 1
        return clean(f"{folder}/{target}"), walked + 1

    def _at(self, path: str) -> Node | None:
        """What lstat finds, links in the folders above followed as the kernel follows them."""
        todo = path.split("/")
        done: list[str] = []
        walked = 0
        while True:
            part = todo.pop(0)
            if part == "..":
                if not done:
                    raise Refused(f'a link on the way to "/{path}" leads out of the image')
                done.pop()
            elif part not in ("", "."):
                done.append(part)
            node = self.find("/".join(done))
            if not todo or node is None:
                return node
            if node.kind == "link":
                walked += 1
                # The root that BuildKit follows such a link from is that of its own machine.
                if node.link.startswith("/") or walked > _MOST_LINKS:
                    raise Refused(f'"/{"/".join(done)}" is a link behind a link')
                done.pop()
                todo[:0] = node.link.split("/")
            elif node.kind != "dir":
                raise Refused(f'"/{"/".join(done)}" is no folder')

    # -- folders -------------------------------------------------------------------------------

    def make_folders(self, path: str, owner: Owner | None) -> None:
        """Have a folder and all above it; ``path`` is resolved.

        Raises:
            Refused: something on the way is no folder.

        """
        current, above = "", ROOT
        for part in path.split("/") if path else ():
            current = f"{current}/{part}".lstrip("/")
            node = self.find(current)
            if node is None:
                node = _new_folder(above, owner)
                self.put(current, node)
            elif node.kind != "dir":
                raise Refused(f'"/{current}" is no folder')
            above = node

    # -- accounts ------------------------------------------------------------------------------

    def account(self, path: str, reader: ContentReader) -> str | None:
        """The content of /etc/passwd or /etc/group; None where there is none."""
        try:
            place = self.resolve(path)
        except Refused as refused:
            raise Refused(f"the owner cannot be looked up: {refused.reason}") from None
        node = self.find(place)
        if node is None:
            return None
        if node.kind != "file" or node.content is None:
            raise Refused(f'the owner cannot be looked up: "/{place}" is no file')
        if place not in self._changes and place in ACCOUNTS:
            known = self.below.account(place)
            if known is not None:
                return known
        if isinstance(node.content, InLayer):
            reader.want([node.content])
        return reader.read(node.content).decode("utf-8", "surrogateescape")


def _new_folder(above: Node, owner: Owner | None) -> Node:
    """A folder as the kernel makes it: in one with the set-group-ID bit it gets bit and group."""
    inherits = bool(above.mode & stat.S_ISGID)
    gid = above.gid if inherits else 0
    uid, gid = owner or (0, gid)
    return Node("dir", 0o755 | (stat.S_ISGID if inherits else 0), uid, gid)


def whole(node: Node, path: str) -> Node:
    """The node, if a copy of it is like it.

    Raises:
        Refused: it is a device, or has capabilities of which the index does not tell more.

    """
    if node.kind not in ("file", "dir", "link"):
        raise Refused(f'"/{path}" is a {node.kind}')
    if CAPABLE in node.marks and not node.capability:
        raise Refused(f'"/{path}" has file capabilities that are not known')
    return node


def apart(nodes: Iterable[tuple[str, Node]]) -> None:
    """Make sure that no file is copied under two of its names, which would have to stay one file.

    What is copied under one name is a file of its own.

    Raises:
        Refused: there is such a file.

    """
    seen: set[Content] = set()
    for path, node in nodes:
        if LINKED in node.marks and node.content is not None:
            if node.content in seen:
                raise Refused(f'"{path}" is a hard link to another file that is copied')
            seen.add(node.content)


# -- owners ------------------------------------------------------------------------------------


_NUMBER = re.compile(r"[0-9]+")
_LIKE_A_NUMBER = re.compile(r"[+-]?[0-9_]+")
_HIGHEST = (1 << 31) - 1


def owner_of(text: str, files: StageFiles, reader: ContentReader) -> Owner | None:
    """The owner that ``user[:group]`` names; None for "".

    A name that nobody has is root, and a number alone is user and group. What counts are the
    accounts as they are before the instruction.

    Raises:
        Refused: an engine fails, or it cannot be known.

    """
    if not text:
        return None
    user, colon, group = text.partition(":")
    uid = gid = 0
    number = _number(user)
    if number is not None:
        uid = gid = number
    elif user:
        uid, gid = _user(user, _accounts("etc/passwd", files, reader))
    if not colon:
        return Owner(uid, gid)
    number = _number(group)
    if number is not None:
        return Owner(uid, number)
    if group:
        found = _group(group, _accounts("etc/group", files, reader))
        return Owner(uid, gid if found is None else found)
    return Owner(uid, 0)


def _number(text: str) -> int | None:
    if text == "root":
        return 0
    if _NUMBER.fullmatch(text) and text.isascii():
        if int(text) > _HIGHEST:
            raise Refused(f'the id "{text}" is too high')
        return int(text)
    if _LIKE_A_NUMBER.fullmatch(text):
        raise Refused(f'the id "{text}" is no plain number')
    return None


def _accounts(path: str, files: StageFiles, reader: ContentReader) -> str:
    if files.empty:
        raise Refused("an owner with a name cannot be looked up in an empty image")
    return files.account(path, reader) or ""


def _user(name: str, text: str) -> tuple[int, int]:
    for fields in _fields(text):
        if fields[0] == name:
            return _id(fields, 2), _id(fields, 3)
    return 0, 0


def _group(name: str, text: str) -> int | None:
    for fields in _fields(text):
        if fields[0] == name:
            return _id(fields, 2)
    return None


def _fields(text: str) -> Iterator[list[str]]:
    for line in text.split("\n"):
        stripped = line.strip()
        if stripped:
            yield stripped.split(":")


def _id(fields: list[str], at: int) -> int:
    """A number as Go's Atoi reads it; 0 where it is none."""
    text = fields[at] if len(fields) > at else ""
    if not re.fullmatch(r"[+-]?[0-9]+", text, re.ASCII):
        return 0
    return int(text)
