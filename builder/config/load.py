"""Finds and loads build.toml and build.lock: text, files and --set options to checked values."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import tomli
from msgspec import Struct, field

from builder.config.toml import TomlText, apply_overrides, line_of, parse, parse_override
from builder.core.bases import Pin, Resolution
from builder.core.errors import ConfigError, InputError, Location, raise_all
from builder.core.options import BuildOptions
from builder.core.settings.config import (
    DEFAULT_GROUPS,
    FILE_NAME,
    Config,
    as_text,
    broken,
    check_overlap,
    lost,
    moved,
    pins_in,
    read_document,
    unlockable,
    unlocked,
)
from builder.core.settings.readers import Demand, Mistake, Place
from builder.system.files import replace_file

_INIT = "`ocbuild init` writes one that fits this folder"


def find_config(start: Path, explicit: Path | None) -> Path:
    """The file that ``--config`` names, else build.toml in ``start`` or its nearest parent.

    Raises:
        ConfigError: there is none.

    """
    if explicit is not None:
        if explicit.is_file():
            return explicit
        fact = "is a folder, not a file" if explicit.is_dir() else "no such file"
        raise ConfigError(fact, where=Location(str(explicit)), hint=_INIT)
    if (start / FILE_NAME).is_file():
        return start / FILE_NAME
    folder = start.resolve()
    for parent in folder.parents:
        if (parent / FILE_NAME).is_file():
            return parent / FILE_NAME
    raise ConfigError(f"there is no {FILE_NAME} in {folder} or above it", hint=_INIT)


def load(path: Path, overrides: Sequence[str] = ()) -> Config:
    """Read build.toml with ``--set`` options, each ``key=value``, laid over it.

    Messages name the file as they name Dockerfiles: relative to the folder of build.toml.

    Raises:
        ConfigError: one mistake.
        InputErrors: several of them.

    """
    root = path.parent.resolve()
    text = _read(path)
    document = parse(text, label=path.name)
    parsed = [parse_override(override) for override in overrides]
    apply_overrides(document, parsed)
    origin = TomlText(label=path.name, text=text, overrides=tuple(parsed))
    place = Place(root=root, faults=[], expand=Path.expanduser)
    folders = [name for name in DEFAULT_GROUPS if (root / name).is_dir()]
    sections = read_document(document, place, folders=folders)
    place.faults.extend(_unmet(place.demands))
    groups = sections.get("groups", {}).values()
    resolved = {group.name: group.path.resolve() for group in groups}
    check_overlap(groups, place, resolved)
    errors = [_error(mistake, origin) for mistake in place.faults]
    raise_all(sorted(errors, key=_line))
    return Config(**sections, path=root / path.name, root=root, origin=origin)


def _unmet(demands: Sequence[Demand]) -> Iterator[Mistake]:
    """What of it is not on the disk."""
    for demand in demands:
        if not demand.file.exists():
            yield demand.missing
        elif (demand.kind == "file" and not demand.file.is_file()) or (
            demand.kind == "folder" and not demand.file.is_dir()
        ):
            yield demand.other


def _read(path: Path) -> str:
    where = Location(str(path))
    try:
        content = path.read_bytes()
    except FileNotFoundError as error:
        raise ConfigError("no such file", where=where, hint=_INIT) from error
    except OSError as error:
        fact = f"cannot be read: {error.strerror}"
        raise ConfigError(fact, where=where, hint="make the file readable") from error
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ConfigError(
            f"byte {error.start} is 0x{content[error.start]:02x}, which is no UTF-8",
            where=Location(str(path), line),
            hint="save the file as UTF-8",
        ) from error


def _error(mistake: Mistake, origin: TomlText) -> ConfigError:
    return ConfigError(mistake.message, where=origin.locate(*mistake.path), hint=mistake.hint)


def _line(error: InputError) -> int:
    return (error.where.line if error.where else None) or 0


class Lock(Struct, frozen=True, kw_only=True):
    """What a run has to do with build.lock: the pins to build on, and whether to write it."""

    path: Path
    pins: Mapping[str, Pin] = field(default_factory=dict)
    write: bool = False
    strict: bool = False

    @classmethod
    def open(cls, config: Config, options: BuildOptions) -> Lock:
        """What the file says; without one, nothing is pinned.

        Raises:
            ConfigError: it cannot be read or understood.

        """
        path = config.lock_path
        return cls(path=path, pins=_read_lock(path), write=options.lock, strict=options.locked)

    def check(self, texts: Iterable[str], config: Config) -> None:
        """Raise, with --locked, for every base that is not in the lock; one line for each."""
        if self.strict:
            raise_all([*unlocked(self.pins, texts, config, self.path.name)])

    def record(self, resolution: Resolution, tree: Iterable[str]) -> bool:
        """Write, with --lock, what was resolved; entries of bases that the ``tree`` lost go.

        Returns whether the lock is another one now.

        Raises:
            InputError: with --locked, for every base that this machine would have to make anew.
            ConfigError: a base cannot be locked, or the file cannot be written.

        """
        if self.strict:
            raise_all([*lost(self.pins, resolution, self.path.name)])
        if not self.write:
            return False
        raise_all([*unlockable(resolution, self.path.name)])
        pins = moved(self.pins, resolution, tree)
        if pins == self.pins and self.path.exists():
            return False
        try:
            replace_file(self.path, as_text(pins))
        except OSError as error:
            raise ConfigError(
                f"cannot be written: {error.strerror}", where=Location(str(self.path))
            ) from error
        return True


def _read_lock(path: Path) -> dict[str, Pin]:
    try:
        return from_text(path.read_text(encoding="utf-8"), path.name)
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError) as error:
        raise broken(path.name, f"cannot be read: {error}") from error


def from_text(text: str, name: str) -> dict[str, Pin]:
    """Read what ``as_text`` wrote; ``name`` is for messages.

    Raises:
        ConfigError: it is not that.

    """
    try:
        document = tomli.loads(text)
    except tomli.TOMLDecodeError as error:
        raise broken(name, f"not TOML: {error}") from error
    return pins_in(document, name, lambda base: line_of(text, ("bases", base)))
