"""A whole build.toml as one value, and the rules that go beyond one section of it."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from itertools import combinations
from pathlib import Path
from typing import Any, Protocol

from msgspec import Struct
from msgspec.structs import asdict, replace

from builder.core.bases import IMAGE_SCHEME, Pin, Resolution, ResolvedBase
from builder.core.errors import ConfigError, InputError, Location, OcbuildError
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
from builder.core.text import quoted_key

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


VERSION = 1
_HEAD = """\
# The external bases of this tree, by digest. Written by `ocbuild … --lock`; belongs into git.
# To move a base, remove its line and run with --lock again.
version = 1

[bases]
"""
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_REMEDY = "run with --lock, and commit build.lock"

Pins = Mapping[str, Pin]


def as_text(pins: Pins) -> str:
    """The file; equal pins give equal bytes."""
    lines = [
        f'{quoted_key(text)} = {{ {pin.kind} = "{pin.digest}" }}\n'
        for text, pin in sorted(pins.items())
    ]
    return _HEAD + "".join(lines)


def pins_in(
    document: Mapping[str, Any], name: str, line_of: Callable[[str], int | None]
) -> dict[str, Pin]:
    """The pins of a file that was written by ``as_text``, and of which ``name`` is for messages.

    ``line_of`` tells the line on which the entry of a base stands.

    Raises:
        ConfigError: it is no such file.

    """
    if document.get("version") != VERSION:
        raise broken(name, f"its version is {document.get('version')!r}, not {VERSION}")
    entries = document.get("bases", {})
    if not isinstance(entries, dict):
        raise broken(name, "[bases] is no table")
    pins = {base: _pin_in(entry) for base, entry in entries.items()}
    for base, pin in pins.items():
        if pin is None:
            raise ConfigError(
                f'the entry of "{base}" is neither {{ registry = "sha256:…" }}'
                " nor { engine = … }",
                where=Location(name, line_of(base)),
                hint="remove it; --lock adds it",
            )
    return {base: pin for base, pin in pins.items() if pin is not None}


def _pin_in(entry: object) -> Pin | None:
    if isinstance(entry, dict) and len(entry) == 1:
        ((kind, digest),) = entry.items()
        if isinstance(digest, str) and _DIGEST.fullmatch(digest) and kind in ("registry", "engine"):
            return Pin(digest=digest, local=kind == "engine")
    return None


def broken(name: str, fact: str) -> ConfigError:
    return ConfigError(fact, where=Location(name), hint="remove the file; --lock writes it anew")


def unlocked(pins: Pins, texts: Iterable[str], config: Config, name: str) -> Iterator[InputError]:
    """An error for every base that the lock does not pin."""
    for text in sorted(set(texts)):
        redirect = config.contexts.get(text, IMAGE_SCHEME)
        if redirect.startswith(IMAGE_SCHEME):
            if text not in pins:
                fact = f"the base {text} is not locked"
                yield ConfigError(fact, where=Location(name), hint=_REMEDY)
        elif "://" in redirect or redirect.startswith("git@"):
            yield ConfigError(
                f"{text} stands for {redirect} in [contexts], which no lock can pin",
                where=config.locate("contexts", text),
            )


def lost(pins: Pins, resolution: Resolution, name: str) -> Iterator[InputError]:
    """An error for every base of one engine that this one lacks.

    A pull that failed is a fault of the day, and no matter of the lock.
    """
    for text, base in resolution.items():
        if isinstance(base, OcbuildError) and text in pins and pins[text].local:
            yield ConfigError(base.message, where=Location(name), hint=base.hint)


def unlockable(resolution: Resolution, name: str) -> Iterator[InputError]:
    """An error for everything that no entry can be written for: not resolved, or an address."""
    for text, base in resolution.items():
        is_folder = isinstance(base, ResolvedBase) and base.digest.startswith("folder:")
        if _pin_of(base) is None and not is_folder:
            reason = getattr(base, "message", "it is an address, which no lock can pin")
            fact = f"the base {text} cannot be locked: {reason}"
            yield ConfigError(fact, where=Location(name))


def moved(pins: Pins, resolution: Resolution, tree: Iterable[str]) -> dict[str, Pin]:
    """The pins after a run: what was resolved is added, what the ``tree`` lost goes."""
    names = set(tree)
    new = {text: _pin_of(base) for text, base in resolution.items()}
    kept = {text: pin for text, pin in pins.items() if text in names}
    return {**kept, **{text: pin for text, pin in new.items() if pin is not None}}


def _pin_of(base: object) -> Pin | None:
    if not isinstance(base, ResolvedBase) or not base.reference:
        return None
    return Pin(digest=base.digest, local="@" not in base.reference)
