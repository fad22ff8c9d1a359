"""What a layer does to a file system: its entries, what it hides, and what it leaves open.

An index is made once by streaming the layer and is kept. It holds no content but that of
``/etc/passwd`` and ``/etc/group``. Paths have no slash at either end; "" is the root. Whiteouts are
those of https://github.com/opencontainers/image-spec/blob/main/layer.md.
"""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import tarfile
import zlib
from collections.abc import Iterable, Mapping
from functools import cached_property
from typing import IO, NamedTuple, cast

from msgspec import Struct, field

from builder.core.assemble import Refused
from builder.core.codec import convert
from builder.core.globs import clean

VERSION = 1
WHITEOUT = ".wh."
OPAQUE = ".wh..wh..opq"
ACCOUNTS = ("etc/passwd", "etc/group")
# The marks of what a tar entry says beyond what an entry of an index can.
LINKED = "l"  # one of several names of a file
CAPABLE = "c"  # has file capabilities
UNKNOWN = "u"  # a hard link to a file of a layer below
CAPABILITY = "SCHILY.xattr.security.capability"
_KINDS = {
    tarfile.REGTYPE: "file",
    tarfile.AREGTYPE: "file",
    tarfile.CONTTYPE: "file",
    tarfile.GNUTYPE_SPARSE: "file",
    tarfile.DIRTYPE: "dir",
    tarfile.SYMTYPE: "link",
    tarfile.CHRTYPE: "device",
    tarfile.BLKTYPE: "device",
    tarfile.FIFOTYPE: "pipe",
}


class LayerEntry(NamedTuple):
    """One path of a layer; ``stored`` is where the layer has the content, if not under the path.

    ``capability`` is the attribute with the file capabilities, in hexadecimal; an index that was
    made before there was this field has only the mark.
    """

    kind: str
    mode: int
    uid: int
    gid: int
    size: int = 0
    link: str = ""
    marks: str = ""
    stored: str = ""
    capability: str = ""


class LayerIndex(Struct, frozen=True, kw_only=True, dict=True):
    """``removed`` are paths that a whiteout takes away, ``opaque`` folders that it empties."""

    entries: Mapping[str, LayerEntry]
    removed: frozenset[str] = frozenset()
    opaque: frozenset[str] = frozenset()
    accounts: Mapping[str, str] = field(default_factory=dict)

    def __repr__(self) -> str:
        return f"LayerIndex({len(self.entries)} entries, {len(self.removed)} removed)"

    @cached_property
    def implied(self) -> frozenset[str]:
        """Folders that the layer has something in, without saying what they are themselves."""
        found: set[str] = set()
        for path in (*self.entries, *self.removed, *self.opaque):
            folder = path.rpartition("/")[0]
            while folder and folder not in found and folder not in self.entries:
                found.add(folder)
                folder = folder.rpartition("/")[0]
        return frozenset(found)

    @cached_property
    def names(self) -> Mapping[str, tuple[str, ...]]:
        """The names that the layer itself has in each folder."""
        found: dict[str, list[str]] = {}
        for path in (*self.entries, *self.implied):
            folder, _, name = path.rpartition("/")
            if path:
                found.setdefault(folder, []).append(name)
        return {folder: tuple(names) for folder, names in found.items()}

    def hides(self, path: str) -> bool:
        """Whether layers below do not show through at this path, which is none of its entries."""
        if path in self.removed:
            return True
        folder = path
        while folder:
            folder = folder.rpartition("/")[0]
            entry = self.entries.get(folder)
            if folder in self.opaque or folder in self.removed:
                return True
            if entry is not None and entry.kind != "dir":
                return True
        return False

    def dump(self) -> str:
        content = {
            "version": VERSION,
            "entries": {path: list(entry) for path, entry in self.entries.items()},
            "removed": sorted(self.removed),
            "opaque": sorted(self.opaque),
            "accounts": dict(self.accounts),
        }
        return json.dumps(content, separators=(",", ":"))

    @classmethod
    def load(cls, text: str) -> LayerIndex | None:
        """An index that was dumped; None where it was not, or by another version."""
        try:
            # Not by msgspec, which takes no surrogates; names that are no UTF-8 have some.
            content = convert(json.loads(text), _IndexDocument, what="an index")
        except (ValueError, RecursionError):
            return None
        if content.version != VERSION:
            return None
        return cls(
            entries=content.entries,
            removed=content.removed,
            opaque=content.opaque,
            accounts=content.accounts,
        )


class _IndexDocument(Struct, frozen=True, kw_only=True):
    """The JSON that ``LayerIndex.dump`` writes."""

    version: int
    entries: dict[str, LayerEntry]
    removed: frozenset[str]
    opaque: frozenset[str]
    accounts: dict[str, str]


EMPTY = LayerIndex(entries={})


def read_layer(stream: IO[bytes], media_type: str = "") -> LayerIndex:
    """The index of a layer that comes as a stream, compressed or not.

    Raises:
        Refused: the layer cannot be read, or engines would not agree on what it means.

    """
    reader = _Layer()
    try:
        with open_layer(stream, media_type) as archive:
            for member in archive:
                reader.take(archive, member)
    except (tarfile.TarError, EOFError, zlib.error, lzma.LZMAError) as error:
        raise Refused(f"a layer below cannot be read: {error}") from error
    return reader.index()


def open_layer(stream: IO[bytes], media_type: str = "") -> tarfile.TarFile:
    """The layer as an archive to be read from front to back."""
    buffered = io.BufferedReader(cast("io.RawIOBase", stream), 1 << 18)
    start = buffered.peek(6)[:6]
    plain: IO[bytes]
    if start.startswith(b"\x1f\x8b"):
        plain = cast("IO[bytes]", gzip.GzipFile(fileobj=buffered))
    elif start.startswith(b"\x28\xb5\x2f\xfd"):
        plain = _zstd(cast("IO[bytes]", buffered))
    elif start.startswith(b"BZh"):
        plain = cast("IO[bytes]", bz2.BZ2File(buffered))
    elif start.startswith(b"\xfd7zXZ"):
        plain = cast("IO[bytes]", lzma.LZMAFile(buffered))  # noqa: SIM115 - the archive is closed, and the blob below it
    elif "encrypted" in media_type:
        raise Refused("a layer below is encrypted")
    else:
        plain = cast("IO[bytes]", buffered)
    return tarfile.open(
        fileobj=plain, mode="r|", bufsize=1 << 18, encoding="utf-8", errors="surrogateescape"
    )


def _zstd(stream: IO[bytes]) -> IO[bytes]:
    try:
        from compression import zstd  # type: ignore[import-not-found,unused-ignore]  # noqa: PLC0415 - Python 3.14 and later
    except ImportError:
        raise Refused("a layer below is compressed with zstd, which this Python lacks") from None
    return cast("IO[bytes]", zstd.ZstdFile(stream))


class _Layer:
    """Takes the members of one layer, in order."""

    def __init__(self) -> None:
        self._entries: dict[str, LayerEntry] = {}
        self._removed: set[str] = set()
        self._opaque: set[str] = set()
        self._accounts: dict[str, str] = {}

    def take(self, archive: tarfile.TarFile, member: tarfile.TarInfo) -> None:
        path = clean(f"/{member.name}")[1:]
        if ".." in member.name.split("/"):
            raise Refused(f'a layer below holds the path "{member.name}"')
        folder, _, name = path.rpartition("/")
        if name.startswith(WHITEOUT):
            self._take_whiteout(folder, name)
            return
        if member.islnk():
            self._take_hard_link(path, clean(f"/{member.linkname}")[1:])
            return
        kind = _KINDS.get(member.type)
        if kind is None:
            raise Refused(f'a layer below holds "{path}" of an unknown kind')
        capability = member.pax_headers.get(CAPABILITY, "").encode("utf-8", "surrogateescape").hex()
        marks = CAPABLE if capability else ""
        link = member.linkname if kind == "link" else ""
        size = member.size if kind == "file" else 0
        mode = 0o777 if kind == "link" else member.mode & 0o7777
        self._put(
            path,
            LayerEntry(
                kind,
                mode,
                member.uid,
                member.gid,
                size,
                link,
                marks,
                capability=capability,
            ),
        )
        if path in ACCOUNTS and kind == "file":
            content = archive.extractfile(member)
            self._accounts[path] = (content.read() if content else b"").decode(
                "utf-8", "surrogateescape"
            )

    def _take_whiteout(self, folder: str, name: str) -> None:
        if name == OPAQUE:
            self._opaque.add(folder)
        elif not name.startswith(WHITEOUT * 2):
            self._removed.add(f"{folder}/{name[len(WHITEOUT) :]}".lstrip("/"))

    def _take_hard_link(self, path: str, target: str) -> None:
        first = self._entries.get(target)
        if first is None:
            self._put(path, LayerEntry("file", 0, 0, 0, 0, "", UNKNOWN))
            return
        marks = "".join(sorted({*first.marks, LINKED}))
        self._entries[target] = first._replace(marks=marks)
        self._put(path, first._replace(marks=marks, stored=first.stored or target))
        if path in ACCOUNTS:
            self._accounts.pop(path, None)

    def _put(self, path: str, entry: LayerEntry) -> None:
        before = self._entries.get(path)
        if before is not None and before.kind == "dir" and entry.kind != "dir":
            raise Refused(f'a layer below holds "{path}" twice, as different things')
        self._entries[path] = entry

    def index(self) -> LayerIndex:
        for path in self._entries:
            folder = path.rpartition("/")[0]
            parent = self._entries.get(folder)
            if path and parent is not None and parent.kind != "dir":
                raise Refused(f'a layer below holds "{path}" below what is no folder')
        index = LayerIndex(
            entries=self._entries,
            removed=frozenset(self._removed),
            opaque=frozenset(self._opaque),
            accounts=self._accounts,
        )
        twice = index.removed & (index.entries.keys() | index.implied)
        if twice:
            raise Refused(f'a layer below holds "{min(twice)}" and its removal at once')
        return index


class LayeredEntry(NamedTuple):
    """An entry and the number of the layer that has it."""

    entry: LayerEntry
    layer: int


_IMPLIED = LayerEntry("dir", 0o755, 0, 0)


class Layers:
    """The file system that layers make together, the lowest first."""

    def __init__(self, layers: Iterable[LayerIndex]) -> None:
        self._layers = tuple(layers)
        self._known: dict[str, LayeredEntry | None] = {}

    def find(self, path: str) -> LayeredEntry | None:
        """What is at a path, links not followed; None for nothing.

        Raises:
            Refused: the layers do not tell what it is.

        """
        if path not in self._known:
            self._known[path] = self._find(path, len(self._layers))
        return self._known[path]

    def names(self, folder: str) -> list[str]:
        """The names in a folder, sorted as bytes."""
        found: set[str] = set()
        for layer in self._layers:
            found.update(layer.names.get(folder, ()))
        prefix = f"{folder}/" if folder else ""
        there = (name for name in found if self.find(prefix + name) is not None)
        return sorted(there, key=lambda name: name.encode("utf-8", "surrogateescape"))

    def account(self, path: str, layer: int) -> str | None:
        """The content of passwd or group, if that layer's index has it."""
        return self._layers[layer].accounts.get(path)

    def _find(self, path: str, below: int) -> LayeredEntry | None:
        for number in range(below - 1, -1, -1):
            layer = self._layers[number]
            entry = layer.entries.get(path)
            if entry is not None:
                if UNKNOWN in entry.marks:
                    raise Refused(f'a layer below has "{path}" as a link to a file of another one')
                return LayeredEntry(entry, number)
            if path in layer.implied:
                return self._implied(path, number)
            if layer.hides(path):
                return None
        return None

    def _implied(self, path: str, number: int) -> LayeredEntry:
        """A folder without an entry: some engines give it the mode of the one below, some not."""
        hidden = self._layers[number].hides(path)
        lower = None if hidden else self._find(path, number)
        if lower is not None and lower.entry[:4] != _IMPLIED[:4]:
            raise Refused(f'a layer below has no entry for the folder "{path}", which it needs')
        return LayeredEntry(_IMPLIED, number)
