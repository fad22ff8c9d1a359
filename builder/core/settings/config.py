"""A whole build.toml as one value, and the rules that go beyond one section of it."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from itertools import combinations
from pathlib import Path
from typing import Any, Protocol

from msgspec import Struct
from msgspec.structs import asdict, replace

from builder.core.errors import Location
from builder.core.reference import Reference
from builder.core.settings.readers import Key, Place
from builder.core.settings.schema import read_fields
from builder.core.settings.sections import (
    BaseSettings,
    DeploySettings,
    Document,
    Group,
    ImageSettings,
    Project,
)

FILE_NAME = "build.toml"
# The word for the registry that ocbuild runs itself, and where that one listens.
LOCAL = "local"
DEFAULT_ADDRESS = "127.0.0.1:5000"
DEFAULT_GROUPS = ("common", "openstack", "contrail")


class Origin(Protocol):
    """What a Config was read from, so that messages can point into it."""

    def locate(self, *path: Key) -> Location: ...


class Nowhere(Struct, frozen=True):
    """The origin of a Config that was read from no file."""

    def locate(self, *path: Key) -> Location:  # noqa: ARG002 - it knows of none
        return Location(FILE_NAME)


class Config(Document, frozen=True, kw_only=True):
    """A whole build.toml, checked; ``path`` is the file and ``root`` its folder, both absolute."""

    path: Path
    root: Path
    origin: Origin = Nowhere()

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


def registry_host(config: Config) -> str:
    """Where images are published: host, or host and port."""
    return DEFAULT_ADDRESS if config.project.registry == LOCAL else config.project.registry


def inputs(config: Config) -> tuple[Path, ...]:
    """All that belongs to the tree: the folders of the groups, build.toml itself and its lock."""
    return (*(group.path for group in config.groups.values()), config.path, config.lock_path)


def read_document(
    document: Mapping[str, object], place: Place, *, folders: Collection[str]
) -> dict[str, Any]:
    """The sections that are right, with all defaults filled in; the rest is faulted.

    ``folders`` are those of DEFAULT_GROUPS that are there.
    """
    if "project" not in document:
        document = {"project": {}, **document}
    sections = read_fields(Document, document, place)
    if not sections.get("groups") and not document.get("groups"):
        sections["groups"] = _default_groups(place, folders)
    sections["deploy"] = sections.get("deploy", DeploySettings()).resolved()
    if "bases" in sections:
        _check_bases(sections["bases"], place)
    if "groups" in sections:
        sections["groups"] = _with_paths(sections["groups"], place)
    if "project" in sections and "groups" in sections:
        project: Project = sections["project"]
        sections["project"] = replace(project, name=project.name or project.namespace)
        sections["groups"] = _with_tags(sections["groups"], project, place)
    return sections


def _default_groups(place: Place, folders: Collection[str]) -> dict[str, Group]:
    groups = {name: Group(name=name) for name in DEFAULT_GROUPS if name in folders}
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


def check_overlap(groups: Iterable[Group], place: Place, resolved: Mapping[str, Path]) -> None:
    """Fault groups whose folders, by name as they are without symbolic links, overlap."""
    for group, other in combinations(groups, 2):
        first, second = resolved[group.name], resolved[other.name]
        if first.is_relative_to(second) or second.is_relative_to(first):
            place.at("groups", other.name, "path").fault(
                f'the groups {group.name} ("{place.shown(group.path)}") and '
                f'{other.name} ("{place.shown(other.path)}") overlap',
                "give each image directory to one group",
            )


def _check_bases(bases: Mapping[str, BaseSettings], place: Place) -> None:
    for base, other in combinations(bases, 2):
        if Reference.parse(base).canonical == Reference.parse(other).canonical:
            place.at("bases", other).fault(
                f'"{base}" and "{other}" are the same image', "join the two sections"
            )
