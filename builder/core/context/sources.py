"""What of a build context BuildKit asks for, and what each read of a Dockerfile reaches in it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from itertools import chain

from msgspec import Struct
from msgspec.structs import replace

from builder.core.context import ContextFile, ContextListing, ContextSource
from builder.core.context.tree import ContextTree, Followed, Narrow
from builder.core.dockerfile.model import ContextRead, Via
from builder.core.errors import ContextError, InputError, did_you_mean, raise_all
from builder.core.globs import (
    BadPatternError,
    Match,
    clean,
    compile_glob,
    compile_pattern,
    has_wildcard,
    printable,
)
from builder.core.ignore import Ignore, ancestry


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


_MOST_NAMES = 2000


def list_reads(tree: ContextTree, reads: Sequence[ContextRead]) -> ContextListing:
    """List all that the reads reach.

    Raises:
        InputError: one ContextError for each source that is missing, ignored or outside.

    """
    errors: list[InputError] = []
    asked = _asked(tree, reads)
    sources: list[tuple[ContextSource, ...]] = []
    for read in reads:
        taken: list[ContextSource] = []
        for source in _named_sources(read):
            try:
                taken.extend(_resolve(tree, asked, read, source))
            except ContextError as error:
                errors.append(_placed(tree, error, read, source))
        sources.append(tuple(taken))
    files = {file.path: file for taken in sources for source in taken for file in source.files}
    errors.extend(_emptied(tree, reads, sources))
    raise_all(errors)
    return ContextListing(
        files=tuple(files[path] for path in sorted(files)),
        sources=tuple(sources),
        ignore_file=tree.ignore_file,
    )


# -- sources ------------------------------------------------------------------------------------


def _asked(tree: ContextTree, reads: Sequence[ContextRead]) -> Asked:
    sources = {_relative(source) for read in reads for source in read.sources}
    everything = {""} if any(read.whole for read in reads) else set()
    return Asked(tree, sources | everything)


def reaches(tree: ContextTree, reads: Sequence[ContextRead], path: str) -> bool:
    """Whether a build would get what were at this path of the context."""
    return not tree.ignore.excludes(path) and _asked(tree, reads).has(path)


def _named_sources(read: ContextRead) -> Iterator[str]:
    """The sources that can be looked up; of ``whole`` reads those that hold no variable."""
    for source in read.sources:
        if not (read.whole and "$" in source):
            yield source
    if read.whole:
        yield ""


def _resolve(
    tree: ContextTree, asked: Asked, read: ContextRead, source: str
) -> Iterator[ContextSource]:
    if _climbs(source):
        raise ContextError(
            f'"{printable(source)}" leaves the build context {tree.shown}',
            hint="an engine gets only the context: put the file there, or set another context",
        )
    if read.parents:
        yield from _with_parents(tree, asked, read, source)
        return
    for match in _matches(tree, asked, read, _relative(source)):
        yield _taken(tree, match, _narrow(read, match.path))


def _with_parents(
    tree: ContextTree, asked: Asked, read: ContextRead, source: str
) -> Iterator[ContextSource]:
    """``--parents``: the folders after "/./", or all of them, are kept; links are not followed."""
    pivot, cut, rest = source.partition("/./")
    base, pattern = (_relative(pivot), _relative(rest)) if cut else ("", _relative(source))
    include = Ignore.of_patterns([pattern], read.location) if pattern else None
    for match in _matches(tree, asked, read, base):
        taken = _taken(tree, match, replace(_narrow(read, match.path), include=include))
        if not taken.below and not has_wildcard(source):
            tree.follow(_relative(source))  # says what is wrong, unless a link is
            raise ContextError(
                f'"{printable(source)}" is behind a symbolic link or excluded,'
                " and --parents copies nothing then"
            )
        yield taken


class _Match(Struct, frozen=True, kw_only=True):
    name: str
    path: str
    links: tuple[ContextFile, ...]


def _matches(tree: ContextTree, asked: Asked, read: ContextRead, path: str) -> Iterator[_Match]:
    """The paths that a source stands for, links followed."""
    compile_pattern(path)  # as which it is sent to the engine; may be malformed
    if read.via is not Via.RUN and has_wildcard(path):
        yield from _globbed(tree, asked, read, path)
        return
    followed = tree.follow(path)
    if not read.parents:  # then it is only where the copy starts
        _require_asked(asked, path, followed)
    yield _Match(name=path.rpartition("/")[2], path=followed.path, links=followed.links)


def _globbed(tree: ContextTree, asked: Asked, read: ContextRead, path: str) -> Iterator[_Match]:
    parts = path.split("/")
    fixed = next(number for number, part in enumerate(parts) if has_wildcard(part))
    folder = tree.follow("/".join(parts[:fixed]))
    matches = tree.matching(folder.path, compile_glob("/".join(parts[fixed:])))
    if not matches and not asked.has_any_in(folder.path):
        raise ContextError(
            f'"{printable(path)}" matches nothing, so the engine would not find'
            f' "{printable(folder.path)}" either',
            hint="a wildcard may match nothing only at the top of the context",
        )
    for match in matches:
        if not read.parents and not asked.has(match):
            raise ContextError(
                f'"{printable(path)}" matches "{printable(match)}", but BuildKit leaves it out,'
                " since it also reads the wildcard as a regular expression",
                hint="name the files themselves, or the folder that holds them",
            )
        end = tree.follow(match)
        if not read.parents:
            _require_asked(asked, match, end)
        links = (*folder.links, *end.links)
        yield _Match(name=match.rpartition("/")[2], path=end.path, links=links)


def _require_asked(asked: Asked, path: str, followed: Followed) -> None:
    if asked.has(followed.path):
        return
    if followed.links:
        raise ContextError(
            f'"{printable(path)}" is a symbolic link, and BuildKit does not follow it behind this'
            " wildcard",
            hint=f'copy "{printable(followed.path)}" itself as well',
        )
    raise ContextError(
        f'the engine takes "{printable(path)}" for a pattern, which does not match itself',
        hint="copy the folder that holds the file, or give it a plainer name",
    )


def _taken(tree: ContextTree, match: _Match, narrow: Narrow) -> ContextSource:
    file = tree.entry(match.path) if match.path else None
    is_folder = not match.path or (file is not None and file.kind == "dir")
    return ContextSource(
        name=match.name,
        path=match.path,
        links=match.links,
        file=file,
        below=tuple(tree.below(match.path, narrow)) if is_folder else (),
    )


def _narrow(read: ContextRead, base: str) -> Narrow:
    exclude = Ignore.of_patterns(read.exclude, read.location) if read.exclude else None
    return Narrow(base=base, exclude=exclude)


def _relative(source: str) -> str:
    """The source as a clean path below the context; "" is the context."""
    return clean(f"/{source}")[1:]


def _climbs(source: str) -> bool:
    depth = 0
    for part in source.split("/"):
        depth += -1 if part == ".." else part not in ("", ".")
        if depth < 0:
            return True
    return False


# -- what is wrong ------------------------------------------------------------------------------


def _placed(tree: ContextTree, error: ContextError, read: ContextRead, source: str) -> ContextError:
    hint = error.hint or _near(tree, _relative(source))
    return ContextError(f"{read.via.value}: {error.message}", where=read.location, hint=hint)


def _near(tree: ContextTree, path: str) -> str | None:
    """Files of the same name elsewhere, else files of nearly the same name beside it."""
    folder, _, name = path.rpartition("/")
    with suppress(ContextError):
        same = [other for other in tree.sent_below("") if other.rpartition("/")[2] == name]
        if same:
            quoted = [f'"{printable(other)}"' for other in same[:3]]
            return f"did you mean {' or '.join(quoted)}?"
        beside = [f"{folder}/{other}" if folder else other for other in tree.names(folder)]
        return did_you_mean(printable(path), map(printable, beside[:_MOST_NAMES]))
    return None


def _emptied(
    tree: ContextTree, reads: Sequence[ContextRead], sources: Sequence[Sequence[ContextSource]]
) -> Iterator[ContextError]:
    if not tree.ignore.can_empty:
        return
    for read, taken in zip(reads, sources, strict=True):
        files = (file.path for source in taken for file in source.files if file.kind == "file")
        for path in files:
            if tree.ignore.empties(path):
                yield ContextError(
                    f"{read.via.value}: the rules of {tree.ignore.path} contradict each other on"
                    f' "{printable(path)}": BuildKit would copy it as an empty file',
                    where=read.location,
                    hint='put the line with the "!" last',
                )
                break
