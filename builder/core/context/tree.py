"""The build context as BuildKit gets it: a folder minus what its ignore file takes out.

What is in the folder is asked of a FileSystem. Paths are relative to the folder, with slashes; ""
is the folder itself. Sockets, pipes and devices are passed over.

https://pkg.go.dev/github.com/tonistiigi/fsutil#FilterOpt
"""

from __future__ import annotations

import stat
from collections.abc import Iterator, Sequence
from typing import Protocol

from msgspec import Struct

from builder.core.context import ContextFile
from builder.core.errors import ContextError
from builder.core.globs import Glob, printable
from builder.core.ignore import Ignore, Rule

_MOST_LINKS = 255


class FileStatus(Protocol):
    """As much of an ``os.stat_result`` as a context needs."""

    @property
    def st_mode(self) -> int: ...

    @property
    def st_size(self) -> int: ...


class FolderEntry(Protocol):
    """What a folder holds: a name, whether it is a folder itself, and more for the asking."""

    @property
    def name(self) -> str: ...

    @property
    def folder(self) -> bool: ...

    def status(self) -> FileStatus:
        """Without following a link.

        Raises:
            OSError: it cannot be told.

        """
        ...


class FileSystem(Protocol):
    """What lies below the folder of a context. Links are not followed; paths as in ContextTree."""

    def scan(self, folder: str) -> Sequence[FolderEntry]:
        """All that is in the folder, in no order.

        Raises:
            OSError: it is none, or cannot be read.

        """
        ...

    def status(self, path: str) -> FileStatus:
        """What is at the path.

        Raises:
            OSError: nothing, or it cannot be told.
            ValueError: the path is none.

        """
        ...

    def target(self, path: str) -> str:
        """Where the link at the path leads, as it is written.

        Raises:
            OSError: it is no link, or cannot be read.

        """
        ...


class Followed(Struct, frozen=True, kw_only=True):
    """Where a path leads once its symbolic links are followed, and the links on the way."""

    path: str
    links: tuple[ContextFile, ...]


class Narrow(Struct, frozen=True, kw_only=True):
    """``--parents`` and ``--exclude``: patterns on paths below ``base``; hits are of one folder."""

    base: str
    include: Ignore | None = None
    exclude: Ignore | None = None
    include_hits: int = 0
    exclude_hits: int = 0

    def below(self, path: str) -> Narrow:
        """The same for a path in the folder."""
        if self.include is None and self.exclude is None:
            return self
        inner = path[len(self.base) + 1 :] if self.base else path
        return Narrow(
            base=self.base,
            include=self.include,
            exclude=self.exclude,
            include_hits=self.include.hits(inner, self.include_hits) if self.include else 0,
            exclude_hits=self.exclude.hits(inner, self.exclude_hits) if self.exclude else 0,
        )

    @property
    def keeps(self) -> bool:
        """Whether the path itself is wanted; "excluded" by the include patterns means matched."""
        if self.exclude is not None and self.exclude.excluded(self.exclude_hits):
            return False
        return self.include is None or self.include.excluded(self.include_hits)

    def skips_below(self, path: str) -> bool:
        """Whether nothing below the folder can be wanted."""
        inner = path[len(self.base) + 1 :] if self.base else path
        if self.exclude is not None and self.exclude.prunes(inner, self.exclude_hits):
            return True
        if self.include is None or self.include_hits:
            return False
        return not any(rule.can_match_below(inner) for rule in self.include.rules)


class ContextTree(Struct, frozen=True, kw_only=True):
    """``shown`` is how messages name the folder; ``ignore_file`` is relative to the folder too."""

    files: FileSystem
    shown: str
    ignore: Ignore
    ignore_file: str | None = None

    # -- single paths --

    def entry(self, path: str) -> ContextFile | None:
        """What is at this path, without following a link at its end; ignore rules do not count."""
        status = self._status(path)
        return None if status is None else self._file(path, status)

    def excluded(self, path: str) -> bool:
        """Whether the engine does not get this path: a folder stays for what is kept in it."""
        hits = self.ignore.all_hits(path)
        if not self.ignore.excluded(hits):
            return False
        if self.ignore.prunes(path, hits):
            return True
        status = self._status(path)
        if status is None or not stat.S_ISDIR(status.st_mode):
            return True
        return next(self.sent_below(path), None) is None

    def excluded_by(self, path: str) -> Rule | None:
        return self.ignore.decided_by(self.ignore.all_hits(path))

    def follow(self, path: str) -> Followed:
        """Follow the symbolic links of a path as the engine does: an absolute target starts at the
        context.

        Raises:
            ContextError: where a part is missing or ignored, or a link leaves the context.

        """
        todo = path.split("/") if path else []
        done: list[str] = []
        links: list[ContextFile] = []
        while todo:
            part = todo.pop(0)
            if part in ("", "."):
                continue
            if part == "..":
                if not done:
                    raise self._leaves(links[-1])
                done.pop()
                continue
            current = "/".join([*done, part])
            status = self._status(current)
            if status is None:
                raise self._missing(path, current, links)
            if not stat.S_ISLNK(status.st_mode):
                done.append(part)
                continue
            link = self._file(current, status)
            if link is None or len(links) == _MOST_LINKS:
                raise ContextError(f'"{printable(path)}": its symbolic links lead in a circle')
            self._require_sent(current)
            links.append(link)
            if link.link.startswith("/"):
                done = []
            todo[:0] = link.link.split("/")
        end = "/".join(done)
        self._require_sent(end)
        return Followed(path=end, links=tuple(links))

    # -- many paths --

    def below(self, folder: str, narrow: Narrow) -> list[ContextFile]:
        """All that a copy of the folder takes from it, the folder itself left out."""
        files: list[ContextFile] = []
        self._collect(folder, self.ignore.all_hits(folder), narrow, files)
        return sorted(files, key=lambda file: file.path)

    def sent_below(self, folder: str) -> Iterator[str]:
        """The paths below the folder that no rule excludes, without folders kept for others."""
        yield from self._sent(folder, self.ignore.all_hits(folder))

    def matching(self, folder: str, glob: Glob) -> list[str]:
        """What a wildcard finds below the folder; a folder that matches is not searched itself."""
        matches: list[str] = []
        self._match(folder, folder, glob, 0, matches)
        return matches

    def names(self, folder: str) -> list[str]:
        """The names in a folder; none where it is no folder."""
        file = self.entry(folder)
        return [entry.name for entry in self._scan(folder)] if file is not None else []

    # -- the file system --

    def _collect(self, folder: str, hits: int, narrow: Narrow, files: list[ContextFile]) -> bool:
        """Append what is wanted below the folder; True where the engine gets anything there."""
        any_sent = False
        for entry in self._scan(folder):
            path = f"{folder}/{entry.name}" if folder else entry.name
            own_hits = self.ignore.hits(path, hits)
            sent = not self.ignore.excluded(own_hits)
            inner = narrow.below(path)
            if not entry.folder:
                any_sent |= sent
                if sent and inner.keeps:
                    self._append(path, self._entry_status(path, entry), files)
                continue
            if self.ignore.prunes(path, own_hits):
                continue
            at = len(files)
            if not inner.skips_below(path):
                sent |= self._collect(path, own_hits, inner, files)
            any_sent |= sent
            if len(files) > at or (sent and inner.keeps):
                self._append(path, self._entry_status(path, entry), files)
        return any_sent

    def _sent(self, folder: str, hits: int) -> Iterator[str]:
        for entry in self._scan(folder):
            path = f"{folder}/{entry.name}" if folder else entry.name
            own_hits = self.ignore.hits(path, hits)
            if not self.ignore.excluded(own_hits):
                yield path
            if entry.folder and not self.ignore.prunes(path, own_hits):
                yield from self._sent(path, own_hits)

    def _match(self, base: str, folder: str, glob: Glob, depth: int, matches: list[str]) -> None:
        for entry in self._scan(folder):
            path = f"{folder}/{entry.name}" if folder else entry.name
            if glob.matches(path[len(base) + 1 :] if base else path):
                if not self.excluded(path):
                    matches.append(path)
            elif (
                entry.folder
                and (glob.depth is None or depth < glob.depth)
                and not self.ignore.prunes(path, self.ignore.all_hits(path))
            ):
                self._match(base, path, glob, depth + 1, matches)

    def _scan(self, folder: str) -> list[FolderEntry]:
        try:
            return sorted(self.files.scan(folder), key=lambda entry: entry.name)
        except NotADirectoryError:
            return []
        except OSError as error:
            raise self._unreadable(folder, error) from error

    def _status(self, path: str) -> FileStatus | None:
        try:
            return self.files.status(path)
        except PermissionError as error:
            raise self._unreadable(path, error) from error
        except (OSError, ValueError):  # not there, below a file, too long, a NUL byte
            return None

    def _entry_status(self, path: str, entry: FolderEntry) -> FileStatus:
        try:
            return entry.status()
        except OSError as error:
            raise self._unreadable(path, error) from error

    def _append(self, path: str, status: FileStatus, files: list[ContextFile]) -> None:
        file = self._file(path, status)
        if file is not None:
            files.append(file)

    def _file(self, path: str, status: FileStatus) -> ContextFile | None:
        mode = stat.S_IMODE(status.st_mode)
        if stat.S_ISREG(status.st_mode):
            return ContextFile(path=path, kind="file", mode=mode, size=status.st_size)
        if stat.S_ISDIR(status.st_mode):
            return ContextFile(path=path, kind="dir", mode=mode)
        if stat.S_ISLNK(status.st_mode):
            try:
                target = self.files.target(path)
            except OSError as error:
                raise self._unreadable(path, error) from error
            return ContextFile(path=path, kind="link", mode=mode, link=target)
        return None

    # -- what is wrong --

    def _require_sent(self, path: str) -> None:
        if not self.excluded(path):
            return
        rule = self.excluded_by(path)
        line = "" if rule is None else f":{rule.line}"
        raise ContextError(
            f'"{printable(path)}" is excluded by {self.ignore.path}{line}',
            hint=f'a later line "!{printable(path)}" there lets the build read it',
        )

    def _missing(self, path: str, part: str, links: list[ContextFile]) -> ContextError:
        if links and links[-1].link.startswith("/"):
            return self._leaves(links[-1])
        text = f'"{printable(path)}" is not in the build context {self.shown}'
        if links:
            target = printable(links[-1].link)
            text += f': "{printable(links[-1].path)}" is a symbolic link to "{target}"'
        elif part != path:
            text += f': there is no "{printable(part)}"'
        return ContextError(text)

    def _leaves(self, link: ContextFile) -> ContextError:
        return ContextError(
            f'"{printable(link.path)}" is a symbolic link to "{printable(link.link)}",'
            f" outside the build context {self.shown}",
            hint="an engine gets only the context: put the file itself there",
        )

    def _unreadable(self, path: str, error: OSError) -> ContextError:
        where = f"{self.shown}/{printable(path)}" if path else self.shown
        return ContextError(f"cannot read {where}: {error.strerror}")
