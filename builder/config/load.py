"""Finds and loads build.toml: text and ``--set`` options to one checked Config."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from builder.config.toml import TomlText, apply_overrides, parse, parse_override
from builder.core.errors import ConfigError, InputError, Location, raise_all
from builder.core.settings.config import (
    DEFAULT_GROUPS,
    FILE_NAME,
    Config,
    check_overlap,
    read_document,
)
from builder.core.settings.readers import Demand, Mistake, Place

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
