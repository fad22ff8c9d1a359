"""Finds and loads build.toml: text and ``--set`` options to one checked Config."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import tomli
from msgspec import Struct
from msgspec.structs import asdict, replace

from builder.config.deploy_sections import DeploySettings, Host, Network, Stack
from builder.config.schema import read_fields
from builder.config.sections import (
    BaseSettings,
    BootstrapSettings,
    BuildSettings,
    Document,
    FarmSettings,
    Group,
    ImageSettings,
    Project,
    PruneSettings,
    PublishSettings,
    RefreshSettings,
    Secret,
)
from builder.config.toml_lines import Key, holds, line_of
from builder.config.toml_overrides import Override, apply_overrides, parse_override
from builder.config.toml_values import Fault, Place
from builder.core.errors import ConfigError, InputError, Location, raise_all
from builder.core.reference import Reference

__all__ = [
    "BaseSettings",
    "BootstrapSettings",
    "BuildSettings",
    "Config",
    "DeploySettings",
    "FarmSettings",
    "Group",
    "Host",
    "ImageSettings",
    "Network",
    "Project",
    "PruneSettings",
    "PublishSettings",
    "RefreshSettings",
    "Secret",
    "Stack",
    "find_config",
    "inputs",
    "load",
]

FILE_NAME = "build.toml"
DEFAULT_GROUPS = ("common", "openstack", "contrail")
_INIT = "`ocbuild init` writes one that fits this folder"


class Origin(Struct, frozen=True, kw_only=True):
    """What a Config was read from, so that messages can point into it."""

    label: str
    text: str = ""
    overrides: tuple[Override, ...] = ()

    def locate(self, *path: Key) -> Location:
        """The ``--set`` option that gives the value at the path, else the line in the file."""
        for override in reversed(self.overrides):
            if path[: len(override.path)] == override.path:
                return override.location
        if not holds(self.text, path):
            for override in self.overrides:
                if override.path[: len(path)] == path:
                    return override.location
        return Location(self.label, line_of(self.text, path))


class Config(Document, frozen=True, kw_only=True):
    """A whole build.toml, checked; ``path`` is the file and ``root`` its folder, both absolute."""

    path: Path
    root: Path
    origin: Origin = Origin(label=FILE_NAME)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Config):
            return NotImplemented
        # What it was read from makes no difference.
        return {**asdict(self), "origin": None} == {**asdict(other), "origin": None}

    __hash__ = None  # type: ignore[assignment]  # it holds tables

    def __repr__(self) -> str:
        return f"Config({str(self.path)!r})"

    @property
    def lock_path(self) -> Path:
        """Where the digests of external bases are, if they are locked."""
        return self.path.with_suffix(".lock")

    def locate(self, *path: Key) -> Location:
        """Where a key stands, for messages: ``locate("images", "foo")``.

        For a key that is not there it is the place of the nearest table around it.
        """
        return self.origin.locate(*path)

    def image(self, name: str) -> ImageSettings:
        """The settings of an image, which may have no section of its own."""
        return self.images.get(name) or ImageSettings(name=name)

    def base(self, reference: Reference) -> BaseSettings | None:
        """The settings of an external base, however its reference is written."""
        return next(
            (
                base
                for name, base in self.bases.items()
                if Reference.parse(name).canonical == reference.canonical
            ),
            None,
        )


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
    document = _parse(text, label=path.name)
    parsed = [parse_override(override) for override in overrides]
    apply_overrides(document, parsed)
    origin = Origin(label=path.name, text=text, overrides=tuple(parsed))
    place = Place(root=root, faults=[])
    found = _read_document(document, place)
    errors = [_error(fault, origin) for fault in place.faults]
    raise_all(sorted(errors, key=_line))
    return Config(**found, path=root / path.name, root=root, origin=origin)


def inputs(config: Config) -> tuple[Path, ...]:
    """All that belongs to the tree: the folders of the groups, build.toml itself and its lock."""
    return (*(group.path for group in config.groups.values()), config.path, config.lock_path)


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


_AT = re.compile(r" \(at (?:line (\d+), column (\d+)|end of document)\)$")


def _parse(text: str, *, label: str) -> dict[str, Any]:
    try:
        return tomli.loads(text)
    except RecursionError as error:
        raise ConfigError("values are nested too deeply", where=Location(label)) from error
    except tomli.TOMLDecodeError as error:
        message = str(error)
        at = _AT.search(message)
        fact = message[: at.start()] if at else message
        line = int(at[1]) if at and at[1] else len(text.splitlines())
        column = f", column {at[2]}" if at and at[2] else ""
        raise ConfigError(
            f"not TOML: {fact[:1].lower()}{fact[1:]}{column}",
            where=Location(label, line),
            hint=_syntax_hint(fact),
        ) from error


def _syntax_hint(fact: str) -> str:
    if fact.startswith("Invalid value"):
        return 'text stands in quotes: key = "text"'
    if fact.startswith(("Cannot overwrite", "Cannot declare", "Cannot mutate", "Duplicate")):
        return "every key and every [section] can be given only once"
    return 'a line is a [section], a key = "value", or a # comment'


def _error(fault: Fault, origin: Origin) -> ConfigError:
    return ConfigError(fault.message, where=origin.locate(*fault.path), hint=fault.hint)


def _line(error: InputError) -> int:
    return (error.where.line if error.where else None) or 0


def _read_document(document: Mapping[str, object], place: Place) -> dict[str, Any]:
    """The sections that are right, with all defaults filled in; the rest is faulted."""
    if "project" not in document:
        document = {"project": {}, **document}
    found = read_fields(Document, document, place)
    if not found.get("groups") and not document.get("groups"):
        found["groups"] = _default_groups(place)
    found["deploy"] = found.get("deploy", DeploySettings()).resolved()
    if "bases" in found:
        _check_bases(found["bases"], place)
    if "groups" in found:
        _check_overlap(_with_paths(found["groups"], place), place)
    if "project" in found and "groups" in found:
        project: Project = found["project"]
        found["project"] = replace(project, name=project.name or project.namespace)
        groups = _with_paths(found["groups"], place)
        found["groups"] = _with_tags(groups, project, place)
    return found


def _default_groups(place: Place) -> dict[str, Group]:
    groups = {name: Group(name=name) for name in DEFAULT_GROUPS if (place.root / name).is_dir()}
    if not groups:
        listed = ", ".join(f'"{name}"' for name in DEFAULT_GROUPS)
        place.fault(
            f"there are no [groups], and {place.root} has none of the folders {listed}",
            'say where the image directories are, for example: [groups.web] and path = "images"',
        )
    return groups


def _with_paths(groups: Mapping[str, Group], place: Place) -> dict[str, Group]:
    return {
        name: replace(group, path=place.root / (group.path if group.path != Path() else name))
        for name, group in groups.items()
    }


def _with_tags(groups: Mapping[str, Group], project: Project, place: Place) -> dict[str, Group]:
    """The groups with the tag rule that is in force for each: its own, or that of the project."""
    tagged = {}
    for name, group in groups.items():
        default = "{version}-{commit}" if group.version else "{commit}"
        tagged[name] = replace(group, tag=group.tag or project.tag or default)
        if not group.tag:
            tagged[name].check_rule(tagged[name].tag, place.at("groups", name))
    return tagged


def _check_overlap(groups: Mapping[str, Group], place: Place) -> None:
    for one, other in combinations(groups.values(), 2):
        first, second = one.path.resolve(), other.path.resolve()
        if first.is_relative_to(second) or second.is_relative_to(first):
            place.at("groups", other.name, "path").fault(
                f'the groups {one.name} ("{place.shown(one.path)}") and '
                f'{other.name} ("{place.shown(other.path)}") overlap',
                "give each image directory to one group",
            )


def _check_bases(bases: Mapping[str, BaseSettings], place: Place) -> None:
    for one, other in combinations(bases, 2):
        if Reference.parse(one).canonical == Reference.parse(other).canonical:
            place.at("bases", other).fault(
                f'"{one}" and "{other}" are the same image', "join the two sections"
            )
