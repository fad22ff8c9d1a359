"""A build context as values: its files, and what of them each read of a Dockerfile reaches."""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import Struct

from builder.core.dockerfile.model import ContextRead

IGNORE_FILE = ".dockerignore"
# The folder of our own beside build.toml, which is no part of any context.
OWN_FOLDER = ".ocbuild"


class ContextFile(Struct, frozen=True, kw_only=True):
    """One entry of a context: ``kind`` is "file", "dir" or "link"; ``link`` is a link's target."""

    path: str
    kind: str
    mode: int
    size: int = 0
    link: str = ""


class ContextSource(Struct, frozen=True, kw_only=True):
    """One file or folder that a source stands for.

    ``name`` is the name it has in a destination folder, ``path`` where it is ("" for the context),
    ``links`` the symbolic links that lead there, ``file`` None for the context and for what is no
    file, folder or link; ``below`` is what a folder gives, by path.
    """

    name: str
    path: str
    links: tuple[ContextFile, ...] = ()
    file: ContextFile | None = None
    below: tuple[ContextFile, ...] = ()

    @property
    def files(self) -> tuple[ContextFile, ...]:
        return (*self.links, *(() if self.file is None else (self.file,)), *self.below)


class ContextListing(Struct, frozen=True, kw_only=True):
    """``files`` are sorted by path, each once; ``sources`` tell for each read what it stands for.

    ``ignore_file`` is the ignore file in force, relative to the context.
    """

    files: tuple[ContextFile, ...]
    sources: tuple[tuple[ContextSource, ...], ...]
    ignore_file: str | None


class ReadContext(Struct, frozen=True, kw_only=True):
    """A context as a key was made of it.

    ``reads`` are what was asked for, ``contents`` the SHA-256 of each regular file by its path.
    """

    reads: tuple[ContextRead, ...]
    listing: ContextListing
    contents: Mapping[str, str]
