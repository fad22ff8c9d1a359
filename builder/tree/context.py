"""Build contexts on this machine's disk: which ignore file is in force, and what files hold."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path

from msgspec import Struct

from builder.core.context import IGNORE_FILE, ContextFile, ContextListing, ReadContext
from builder.core.context.sources import list_reads
from builder.core.context.tree import ContextTree, Narrow
from builder.core.dockerfile.model import ContextRead
from builder.core.errors import ContextError
from builder.core.match.globs import printable
from builder.core.match.ignore import Ignore

_CHUNK = 1 << 20


class DiskEntry(Struct, frozen=True):
    """An Entry of a folder on the disk."""

    name: str
    folder: bool
    _entry: os.DirEntry[str]

    def status(self) -> os.stat_result:
        return self._entry.stat(follow_symlinks=False)


class DiskFiles(Struct, frozen=True):
    """The FileSystem below ``root``."""

    root: Path

    def scan(self, folder: str) -> list[DiskEntry]:
        with os.scandir(self.root / folder) as entries:
            return [
                DiskEntry(entry.name, entry.is_dir(follow_symlinks=False), entry)
                for entry in entries
            ]

    def status(self, path: str) -> os.stat_result:
        return (self.root / path).lstat()

    def target(self, path: str) -> str:
        return os.readlink(self.root / path)  # noqa: PTH115 - Path.readlink would clean it


def read_context(
    directory: Path, dockerfile: Path, reads: Sequence[ContextRead], *, shown: str | None = None
) -> ContextListing:
    """List all that the reads reach; ``shown`` is how messages name the context folder.

    Raises:
        InputError: one ContextError for each source that is missing, ignored or outside.

    """
    return list_reads(open_context(directory, dockerfile, shown=shown), reads)


def open_context(directory: Path, dockerfile: Path, *, shown: str | None = None) -> ContextTree:
    """The context with the ignore file that is in force.

    Raises:
        InputError: where the folder is none, or a rule of the ignore file is malformed.

    """
    name = printable(str(directory)) if shown is None else shown
    if not directory.is_dir():
        raise ContextError(f"the build context {name} is no folder")
    files = DiskFiles(directory)
    own = dockerfile.with_name(f"{dockerfile.name}{IGNORE_FILE}")
    for path in (own, directory / IGNORE_FILE):
        if not os.path.lexists(path):
            continue
        relative = _beside(directory, path)
        outside = relative.startswith("../")
        ignore = _read_ignore(path, printable(str(path) if outside else f"{name}/{relative}"))
        if ignore is not None:
            return ContextTree(files=files, shown=name, ignore=ignore, ignore_file=relative)
    return ContextTree(files=files, shown=name, ignore=Ignore(path=""))


def unread_files(
    directory: Path, dockerfile: Path, listing: ContextListing, *, shown: str | None = None
) -> tuple[str, ...]:
    """The regular files that go to the engine though nothing reads them, sorted.

    Walks the whole context, which ``read_context`` avoids. The Dockerfile and the ignore files are
    not among them.
    """
    tree = open_context(directory, dockerfile, shown=shown)
    read = {file.path for file in listing.files}
    beside = _beside(directory, dockerfile)
    read.update((beside, f"{beside}{IGNORE_FILE}", IGNORE_FILE))
    files = tree.below("", Narrow(base=""))
    return tuple(sorted(f.path for f in files if f.kind == "file" and f.path not in read))


def file_digest(directory: Path, file: ContextFile) -> str:
    """The SHA-256 of a regular file's content, in hexadecimal digits.

    Raises:
        ContextError: where it cannot be read.

    """
    digest = hashlib.sha256()
    try:
        with (directory / file.path).open("rb") as stream:
            while chunk := stream.read(_CHUNK):
                digest.update(chunk)
    except OSError as error:
        name = printable(str(directory / file.path))
        raise ContextError(f"cannot read {name}: {error.strerror}") from error
    return digest.hexdigest()


def with_contents(
    directory: Path, reads: Sequence[ContextRead], listing: ContextListing
) -> ReadContext:
    """What was listed for these reads, with what the files hold now.

    Raises:
        ContextError: where one cannot be read.

    """
    files = (file for file in listing.files if file.kind == "file")
    contents = {file.path: file_digest(directory, file) for file in files}
    return ReadContext(reads=tuple(reads), listing=listing, contents=contents)


# -- the ignore file ----------------------------------------------------------------------------


def _read_ignore(path: Path, shown: str) -> Ignore | None:
    folder = ContextTree(
        files=DiskFiles(path.parent), shown=str(Path(shown).parent), ignore=Ignore(path="")
    )
    file = folder.entry(path.name)
    if file is not None and file.kind == "link":
        target = folder.follow(path.name).path  # one that leads outside would not be obeyed
        path, file = path.parent / target, folder.entry(target)
    if file is None or file.kind != "file":
        return None
    try:
        text = path.read_bytes()
    except OSError as error:
        raise ContextError(f"cannot read {shown}: {error.strerror}") from error
    return Ignore.parse(text, shown)


def _beside(directory: Path, path: Path) -> str:
    return os.path.relpath(path, directory).replace(os.sep, "/")
