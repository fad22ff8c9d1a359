"""Walks the groups' folders and reads every Dockerfile in them."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from msgspec import Struct

from builder.core.context import IGNORE_FILE, OWN_FOLDER, ContextFile, ContextListing, ReadContext
from builder.core.context.sources import list_reads
from builder.core.context.tree import ContextTree, Narrow
from builder.core.dockerfile.model import ContextRead
from builder.core.dockerfile.parse import parse
from builder.core.errors import (
    ContextError,
    InputError,
    Location,
    TreeError,
    did_you_mean,
    raise_all,
)
from builder.core.globs import BadPatternError, printable
from builder.core.ignore import Ignore
from builder.core.image import ImageSource, image_name
from builder.core.settings.config import Config
from builder.core.settings.sections import Group, ImageSettings

DOCKERFILE = "Dockerfile"
_MOST_LINKS = 255


def discover(config: Config) -> tuple[ImageSource, ...]:
    """All image directories of all groups, sorted by directory.

    Folders with and without a Dockerfile are walked through, so that an image directory may lie
    inside another; symbolic links to folders and hidden folders are not followed.

    Raises:
        InputError: all that is wrong with any Dockerfile, name or folder, together.

    """
    errors: list[InputError] = []
    sources: list[ImageSource] = []
    for group in config.groups.values():
        exclude = _exclude(group, config)
        for folder in _folders(group.path, exclude, config.root, errors):
            try:
                source = _source(folder, group, config)
            except InputError as error:
                errors.append(error)
            else:
                if source is not None:
                    sources.append(source)
    errors.extend(_settings_without_image(config, sources))
    raise_all(errors)
    return tuple(sorted(sources, key=lambda source: source.directory))


def _exclude(group: Group, config: Config) -> Ignore:
    try:
        return Ignore.of_patterns(group.exclude, Location(config.path.name))
    except BadPatternError as error:  # only now it pays to look for the line
        where = config.locate("groups", group.name, "exclude")
        raise BadPatternError(error.message, where=where, hint=error.hint) from error


def _folders(top: Path, exclude: Ignore, root: Path, errors: list[InputError]) -> Iterator[Path]:
    todo = [top]
    while todo:
        folder = todo.pop()
        yield folder
        try:
            with os.scandir(folder) as entries:
                below = [entry.name for entry in entries if entry.is_dir(follow_symlinks=False)]
        except OSError as error:
            where = Location(os.path.relpath(folder, root))
            errors.append(ContextError(f"cannot be read: {error.strerror}", where=where))
            continue
        todo.extend(
            folder / name
            for name in sorted(below, reverse=True)
            if not name.startswith(".")
            and not exclude.excludes((folder / name).relative_to(top).as_posix())
        )


def _source(folder: Path, group: Group, config: Config) -> ImageSource | None:
    settings = _settings(folder, group, config)
    dockerfile = folder / (settings.dockerfile if settings is not None else DOCKERFILE)
    if not dockerfile.is_file():
        return None
    label = os.path.relpath(dockerfile, config.root)
    try:
        name = image_name(group.naming, folder, group.path)
        data = dockerfile.read_bytes()
    except InputError as error:
        raise TreeError(error.message, where=Location(label), hint=error.hint) from error
    except OSError as error:
        raise TreeError(f"cannot be read: {error.strerror}", where=Location(label)) from error
    context = _context(folder, settings, label)
    args = {**config.project.args, **group.args, **(settings.args if settings else {})}
    return ImageSource(
        name=name,
        group=group.name,
        directory=os.path.relpath(folder, config.root),
        label=label,
        context_label=os.path.relpath(context, config.root),
        context=context,
        dockerfile=dockerfile,
        parsed=parse(data, label),
        args=args,
        target=settings.target if settings else None,
        platform=",".join(settings.platforms) or None if settings else None,
    )


def _settings(folder: Path, group: Group, config: Config) -> ImageSettings | None:
    """``[images.NAME]`` of the image that the folder would make."""
    if not config.images:
        return None
    try:
        return config.images.get(image_name(group.naming, folder, group.path))
    except InputError:
        return None  # no image can have such a name; said later, if it has a Dockerfile


def _context(folder: Path, settings: ImageSettings | None, label: str) -> Path:
    if settings is None or settings.context == ".":
        return folder
    context = Path(os.path.normpath(folder / settings.context))
    if not context.is_dir():
        raise TreeError(
            f'the context "{settings.context}" is no folder',
            where=Location(label),
            hint=f"set context in [images.{settings.name}] to a folder, relative to its Dockerfile",
        )
    return context


def _settings_without_image(config: Config, sources: list[ImageSource]) -> Iterator[InputError]:
    names: Mapping[str, ImageSource] = {source.name: source for source in sources}
    for name in config.images:
        if name not in names:
            yield TreeError(
                f"there is no image {name}",
                where=config.locate("images", name),
                hint=did_you_mean(name, names) or "`ocbuild list` shows all images",
            )


# -- where things really are ---------------------------------------------------------------------


class Reads(Struct, frozen=True, kw_only=True):
    """What is read to make an image; paths are relative to the tree, its links resolved.

    ``listing`` is what the image reads of its context, or why that cannot be told; ``context`` the
    folder. ``files`` are those of the listing, the Dockerfile, the ignore file, and the links on
    the way to these. ``folders`` are read whole: those that [contexts] names. ``places`` are files
    and folders below which all of this lies.
    """

    listing: ContextListing | InputError
    context: str
    files: frozenset[str]
    folders: tuple[str, ...]
    places: frozenset[str]


def way(root: str, path: Path) -> list[str]:
    """The links on the way to a path and, last, where it leads, as seen from the root."""
    found: list[str] = []
    text, at = str(path.absolute()), os.sep
    if text.startswith(f"{root}/"):
        text, at = text[len(root) + 1 :], root
    todo = [part for part in reversed(text.split("/")) if part]
    while todo:
        part = todo.pop()
        if part == "..":
            at = os.path.dirname(at)  # noqa: PTH120 - by its text, of many paths
            continue
        place = os.path.join(at, part)  # noqa: PTH118
        try:
            target = os.readlink(place)  # noqa: PTH115
        except OSError:  # mostly because it is no link
            at = place
            continue
        found.append(place)
        if len(found) > _MOST_LINKS:
            break
        todo += [part for part in reversed(target.split("/")) if part not in ("", ".")]
        at = os.sep if target.startswith("/") else at
    return [seen_from(root, place) for place in (*found, at)]


def seen_from(root: str, place: str) -> str:
    if place.startswith(f"{root}/"):
        return place[len(root) + 1 :]
    return os.path.relpath(place, root)


def folders_above(paths: Iterable[str]) -> set[str]:
    """All folders that these paths lie in."""
    found: set[str] = set()
    for path in paths:
        while (path := path.rpartition("/")[0]) and path not in found:
            found.add(path)
    return found


def all_below(root: str, folder: str) -> Iterator[str]:
    """All that is in a folder which is read whole, but for what we keep there ourselves."""
    for place, folders, files in os.walk(os.path.join(root, folder)):  # noqa: PTH118
        folders[:] = [name for name in folders if name != OWN_FOLDER]
        at = seen_from(root, place)
        yield from (name if at == "." else f"{at}/{name}" for name in (*folders, *files))


_CHUNK = 1 << 20
# In nanoseconds: a write that comes so soon after another one may have the same time.
_SAME_TIME = 2_000_000_000


class DiskEntry(Struct, frozen=True):
    """An Entry of a folder on the disk."""

    name: str
    folder: bool
    _entry: os.DirEntry[str]

    def status(self) -> os.stat_result:
        return self._entry.stat(follow_symlinks=False)


class DiskFiles(Struct, frozen=True):
    """The FileSystem below ``root``, without what we keep there ourselves."""

    root: Path

    def scan(self, folder: str) -> list[DiskEntry]:
        with os.scandir(self.root / folder) as entries:
            return [
                DiskEntry(entry.name, entry.is_dir(follow_symlinks=False), entry)
                for entry in entries
                if entry.name != OWN_FOLDER
            ]

    def status(self, path: str) -> os.stat_result:
        if OWN_FOLDER in path.split("/"):
            raise FileNotFoundError(path)
        return os.lstat(f"{self.root}/{path}")

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

    A file that many images read is read once, unless it was written in between.

    Raises:
        ContextError: where it cannot be read.

    """
    path = f"{directory}/{file.path}"
    try:
        identity = _identity(os.stat(path))  # noqa: PTH116 - of many files
        if identity in _digests:
            return _digests[identity]
        digest = hashlib.sha256()
        with open(path, "rb") as stream:  # noqa: PTH123 - of many files
            while chunk := stream.read(_CHUNK):
                digest.update(chunk)
            same = _identity(os.fstat(stream.fileno())) == identity
    except OSError as error:
        raise ContextError(f"cannot read {printable(path)}: {error.strerror}") from error
    # What was written a moment ago can be written again without another time.
    if same and time.time_ns() - identity[-1] > _SAME_TIME:
        _digests[identity] = digest.hexdigest()
    return digest.hexdigest()


# By what the file system says of a file what it held when this process has read it.
_digests: dict[tuple[int, ...], str] = {}


def _identity(status: os.stat_result) -> tuple[int, ...]:
    return (
        status.st_dev,
        status.st_ino,
        status.st_size,
        status.st_mtime_ns,
        status.st_ctime_ns,
    )


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
