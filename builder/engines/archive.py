"""Packs a build context into a tar archive, as POST /build wants it."""

from __future__ import annotations

import contextlib
import os
import tarfile
import tempfile
import threading
from collections.abc import Iterable
from pathlib import Path
from typing import IO

from builder.core.context import IGNORE_FILE, ContextFile
from builder.core.context.tree import ContextTree, Narrow
from builder.core.errors import ContextError, InterruptedRunError
from builder.engines import BuildRequest
from builder.tree.context import open_context


def dockerfile_name(request: BuildRequest) -> str:
    """The path of the Dockerfile in the archive."""
    return request.dockerfile.resolve().relative_to(request.context.resolve()).as_posix()


def hidden(request: BuildRequest) -> str | None:
    """The Dockerfile or the ignore file, if the ignore file leaves it out of the context."""
    tree = open_context(request.context, request.dockerfile)
    for name in (dockerfile_name(request), IGNORE_FILE):
        if tree.entry(name) is not None and tree.ignore.excludes(name):
            return name
    return None


def packed(
    request: BuildRequest, cancel: threading.Event, *, always: Iterable[str] = ()
) -> IO[bytes]:
    """A temporary file, at its start, with all that the ignore rules leave in the context.

    ``always`` are paths that go in whatever the rules say. Owners become root, as BuildKit and the
    docker command make them.

    Raises:
        InputError: if the context cannot be read.
        InterruptedRunError: once ``cancel`` is set.

    """
    tree = open_context(request.context, request.dockerfile)
    files = {file.path: file for file in tree.below("", Narrow(base=""))}
    for name in always:
        entry = tree.entry(name)
        if entry is not None:
            files.setdefault(name, entry)
    with contextlib.ExitStack() as undo:
        archive = undo.enter_context(tempfile.TemporaryFile(prefix="ocbuild-context-"))
        with tarfile.open(
            fileobj=archive, mode="w", format=tarfile.PAX_FORMAT, errors="surrogateescape"
        ) as tar:
            for path in sorted(files):
                if cancel.is_set():
                    raise InterruptedRunError(f"{request.image}: interrupted")
                _add(tar, tree, files[path], request.context)
        archive.seek(0)
        undo.pop_all()
    return archive


def _add(tar: tarfile.TarFile, tree: ContextTree, file: ContextFile, context: Path) -> None:
    path = context / file.path
    entry = tarfile.TarInfo(file.path)
    try:
        status = path.lstat()
        entry.mode = status.st_mode & 0o7777
        entry.mtime = int(status.st_mtime)
        if file.kind == "dir":
            entry.type = tarfile.DIRTYPE
            tar.addfile(entry)
        elif file.kind == "link":
            entry.type = tarfile.SYMTYPE
            entry.linkname = str(path.readlink())
            tar.addfile(entry)
        else:
            with path.open("rb") as stream:
                # The engine's own walk lists such a file and then finds nothing in it.
                empty = tree.ignore.empties(file.path)
                entry.size = 0 if empty else os.fstat(stream.fileno()).st_size
                tar.addfile(entry, stream)
    except OSError as error:
        raise ContextError(f"cannot read {path}: {error.strerror or error}") from error
