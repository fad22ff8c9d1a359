"""Releases as values: images by digest, what each was made of, and what differs between two."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from msgspec import Struct, field

from builder.core.errors import PublishError
from builder.core.reference import Reference

SCHEMA = 1
ARTIFACT_TYPE = "application/vnd.ocbuild.release.v1+json"
# The repository of releases, beside those of the images.
NAME = "release"
# How the tag of a deployment's record begins, which lies beside the releases and is none.
DEPLOYED = "deployed-"
# The moving tag of the newest release, be it a refresh or not, and that of the newest refresh.
LATEST = "latest"
NIGHTLY = "nightly"


class Inputs(Struct, frozen=True, kw_only=True):
    """What a key was made of, each part as a short hash: enough to say what changed since.

    ``files`` are those of the context that the image reads, by path; ``args`` its build args;
    ``bases`` its external bases, as written, to their digests, and ``redirects`` those of them that
    [contexts] pointed elsewhere, to where; ``parents`` the in-tree images that it is built on.
    ``recipe`` stands for the Dockerfile, ``setting`` for engine and platform.
    ``tests`` stands for the commands that the image has passed, which are no part of the key.
    """

    recipe: str
    setting: str = ""
    files: Mapping[str, str] = field(default_factory=dict)
    args: Mapping[str, str] = field(default_factory=dict)
    bases: Mapping[str, str] = field(default_factory=dict)
    parents: tuple[str, ...] = ()
    tests: str = ""
    redirects: Mapping[str, str] = field(default_factory=dict)


class ReleasedImage(Struct, frozen=True, kw_only=True):
    """One image of a release.

    ``path`` is its repository within the registry, so that a release may be copied to another one;
    ``size`` counts the bytes of its compressed layers. ``generation`` counts how often a refresh
    made it anew; it is part of the key. ``inventory`` is the digest of the artifact that lists its
    Debian packages, "" where there is none. ``labels`` are those of the Dockerfile. ``base`` is set
    where the image was put together in process: nothing was installed in it, so it has the packages
    of that image of the tree.
    """

    name: str
    path: str
    tag: str
    digest: str
    key: str
    group: str
    inputs: Inputs
    size: int = 0
    media_type: str = ""
    generation: int = 0
    inventory: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    base: str = ""

    def reference(self, registry: str) -> Reference:
        """Where the image is, by its digest."""
        return Reference(path=self.path, registry=registry, digest=self.digest)


class Release(Struct, frozen=True, kw_only=True):
    """One consistent set of published images.

    ``tag`` names it; ``created`` is RFC 3339 text, the commit's time or that of the refresh;
    ``previous`` is the tag of the release that it was compared with, "" for the first one.
    ``missing`` are the optional images that could not be made, each with the reason in one line.
    """

    tag: str
    project: str
    namespace: str
    commit: str
    created: str
    branch: str = ""
    dirty: bool = False
    previous: str = ""
    images: Mapping[str, ReleasedImage] = field(default_factory=dict)
    missing: Mapping[str, str] = field(default_factory=dict)

    @property
    def generations(self) -> Mapping[str, int]:
        """How often each image was made anew by a refresh."""
        return {name: image.generation for name, image in self.images.items()}

    def as_bytes(self) -> bytes:
        """The JSON that is stored; equal releases give equal bytes."""
        document = {
            "schema": SCHEMA,
            "tag": self.tag,
            "project": self.project,
            "namespace": self.namespace,
            "commit": self.commit,
            "created": self.created,
            "branch": self.branch,
            "dirty": self.dirty,
            "previous": self.previous,
            "images": {name: _image_json(image) for name, image in self.images.items()},
            "missing": dict(self.missing),
        }
        return json.dumps(document, sort_keys=True).encode() + b"\n"

    @classmethod
    def from_bytes(cls, data: bytes, where: str) -> Release:
        """Read what ``as_bytes`` wrote; ``where`` is for messages.

        Raises:
            PublishError: it is no release, or one of a newer schema.

        """
        try:
            document: dict[str, Any] = json.loads(data)
            schema = document["schema"]
        except (ValueError, KeyError, TypeError) as error:
            raise PublishError(f"{where} holds no release of ocbuild: {error!r}") from error
        if schema != SCHEMA:
            raise PublishError(
                f"{where} was written by another version of ocbuild (schema {schema})",
                hint="use the version that wrote it, or a newer one",
            )
        try:
            return _release(document)
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise PublishError(f"{where} is no whole release: {error!r}") from error


class EarlierReleases(Struct, frozen=True, kw_only=True):
    """The releases that a run goes on from.

    ``same`` is the one of this run's tag, if an earlier run has published it, were it in part;
    ``last`` is the newest one.
    """

    same: Release | None = None
    last: Release | None = None

    @property
    def before(self) -> Release | None:
        """What the release of this run goes on from."""
        return self.same or self.last

    @property
    def images(self) -> Mapping[str, ReleasedImage]:
        """The images of that one."""
        return self.before.images if self.before else {}

    def having(self, name: str, key: str, tests: str | None = None) -> Release | None:
        """The release that has the image with this key, the one of this run's tag before others.

        With ``tests``, only where it has passed these.
        """
        for release in (self.same, self.last):
            image = release.images.get(name) if release else None
            if image is not None and image.key == key and tests in (None, image.inputs.tests):
                return release
        return None


def _image_json(image: ReleasedImage) -> dict[str, object]:
    inputs = image.inputs
    return {
        "path": image.path,
        "tag": image.tag,
        "digest": image.digest,
        "key": image.key,
        "group": image.group,
        "size": image.size,
        "media_type": image.media_type,
        "generation": image.generation,
        "inventory": image.inventory,
        "labels": dict(image.labels),
        "base": image.base,
        "inputs": {
            "recipe": inputs.recipe,
            "setting": inputs.setting,
            "files": dict(inputs.files),
            "args": dict(inputs.args),
            "bases": dict(inputs.bases),
            "parents": list(inputs.parents),
            "tests": inputs.tests,
            "redirects": dict(inputs.redirects),
        },
    }


def _release(document: Mapping[str, Any]) -> Release:
    return Release(
        tag=str(document["tag"]),
        project=str(document["project"]),
        namespace=str(document["namespace"]),
        commit=str(document["commit"]),
        created=str(document["created"]),
        branch=str(document.get("branch", "")),
        dirty=bool(document.get("dirty", False)),
        previous=str(document.get("previous", "")),
        images={name: _image(name, found) for name, found in document["images"].items()},
        missing=_texts(document.get("missing", {})),
    )


def _image(name: str, found: Mapping[str, Any]) -> ReleasedImage:
    inputs = found["inputs"]
    return ReleasedImage(
        name=name,
        path=str(found["path"]),
        tag=str(found["tag"]),
        digest=str(found["digest"]),
        key=str(found["key"]),
        group=str(found["group"]),
        size=int(found.get("size", 0)),
        media_type=str(found.get("media_type", "")),
        generation=int(found.get("generation", 0)),
        inventory=str(found.get("inventory", "")),
        labels=_texts(found.get("labels", {})),
        base=str(found.get("base", "")),
        inputs=Inputs(
            recipe=str(inputs["recipe"]),
            setting=str(inputs.get("setting", "")),
            files=_texts(inputs.get("files", {})),
            args=_texts(inputs.get("args", {})),
            bases=_texts(inputs.get("bases", {})),
            parents=tuple(str(parent) for parent in inputs.get("parents", ())),
            tests=str(inputs.get("tests", "")),
            redirects=_texts(inputs.get("redirects", {})),
        ),
    )


def _texts(found: Mapping[str, object]) -> dict[str, str]:
    return {str(name): str(value) for name, value in found.items()}


_SHOWN_FILES = 5
_SHORT_DIGEST = len("sha256:") + 12


class Change(Struct, frozen=True, kw_only=True):
    """One image that is in both, and not the same."""

    old: ReleasedImage
    new: ReleasedImage
    reasons: tuple[str, ...]


class Difference(Struct, frozen=True, kw_only=True):
    """From ``old`` to ``new``, each part in the order of names."""

    old: str
    new: str
    added: tuple[ReleasedImage, ...] = ()
    removed: tuple[ReleasedImage, ...] = ()
    changed: tuple[Change, ...] = ()
    unchanged: tuple[str, ...] = ()
    missing: Mapping[str, str] = field(default_factory=dict)


def difference(old: Release, new: Release) -> Difference:
    """Compare by digest.

    ``missing`` are the optional images that the new one lacks and the old one has.
    """
    both = sorted(old.images.keys() & new.images.keys())
    differing = [name for name in both if old.images[name].digest != new.images[name].digest]
    return Difference(
        old=old.tag,
        new=new.tag,
        added=tuple(new.images[name] for name in sorted(new.images.keys() - old.images.keys())),
        removed=tuple(old.images[name] for name in sorted(old.images.keys() - new.images.keys())),
        changed=tuple(
            Change(
                old=old.images[name],
                new=new.images[name],
                reasons=_reasons(name, old, new),
            )
            for name in differing
        ),
        unchanged=tuple(name for name in both if name not in differing),
        missing={name: why for name, why in new.missing.items() if name in old.images},
    )


def _reasons(name: str, old: Release, new: Release) -> tuple[str, ...]:
    before, after = old.images[name], new.images[name]
    found = [*input_changes(before.inputs, after.inputs), *_parents(before, after, old, new)]
    if after.generation != before.generation:
        found.append(f"refreshed (generation {before.generation} → {after.generation})")
    if not found and before.key == after.key:
        found.append("made anew from the same inputs")
    # Inputs are kept as short hashes, part by part; the key alone knows all of them.
    return tuple(found or ["an input changed of which the release keeps no record"])


def input_changes(old: Inputs, new: Inputs) -> tuple[str, ...]:
    """What of an image's own inputs differs, in words; its parents are not among them."""
    found = []
    if old.recipe != new.recipe:
        found.append("Dockerfile changed")
    found += _files(old.files, new.files)
    found += _args(old.args, new.args)
    found += _bases(old.bases, new.bases)
    if old.setting != new.setting:
        found.append("engine or platform changed")
    if old.tests != new.tests:
        found.append("its tests changed")
    return tuple(found)


def _files(old: Mapping[str, str], new: Mapping[str, str]) -> list[str]:
    changes = [
        *(f"file {path} added" for path in sorted(new.keys() - old.keys())),
        *(f"file {path} removed" for path in sorted(old.keys() - new.keys())),
        *(f"file {path} changed" for path in _differing(old, new)),
    ]
    if len(changes) <= _SHOWN_FILES:
        return changes
    return [*changes[:_SHOWN_FILES], f"and {len(changes) - _SHOWN_FILES} more files"]


def _args(old: Mapping[str, str], new: Mapping[str, str]) -> list[str]:
    # Values stay out: they are hashes here, and may be secrets there.
    return [f"build arg {name} changed" for name in sorted({*old, *new} - _same(old, new))]


def _bases(old: Mapping[str, str], new: Mapping[str, str]) -> list[str]:
    return [
        *(f"base {text} added" for text in sorted(new.keys() - old.keys())),
        *(f"base {text} removed" for text in sorted(old.keys() - new.keys())),
        *(
            f"base {text} moved from {short(old[text])} to {short(new[text])}"
            for text in _differing(old, new)
        ),
    ]


def _parents(before: ReleasedImage, after: ReleasedImage, old: Release, new: Release) -> list[str]:
    was, now = before.inputs.parents, after.inputs.parents
    found = []
    if set(was) != set(now):
        found.append(f"built on {_named(now)} instead of {_named(was)}")
    for parent in sorted(set(was) & set(now)):
        one, other = old.images.get(parent), new.images.get(parent)
        if one is not None and other is not None and one.key != other.key:
            found.append(f"parent {parent} changed")
    return found


def _named(names: Iterable[str]) -> str:
    return ", ".join(sorted(names)) or "no image of the tree"


def _same(old: Mapping[str, str], new: Mapping[str, str]) -> set[str]:
    return {name for name in old.keys() & new.keys() if old[name] == new[name]}


def _differing(old: Mapping[str, str], new: Mapping[str, str]) -> list[str]:
    return sorted((old.keys() & new.keys()) - _same(old, new))


def short(digest: str) -> str:
    """A digest as people compare it: sha256: and 12 digits."""
    return digest[:_SHORT_DIGEST]
