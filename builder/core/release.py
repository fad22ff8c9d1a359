"""A release as a value: which images it has, by digest, and what each of them was made of.

It is stored as JSON in the registry beside its images, so that a run with nothing to do, and a
deployment, read one object. Unknown keys are passed over: a newer ocbuild may have written them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
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

    def having(self, name: str, key: str) -> Release | None:
        """The release that has the image with this key, the one of this run's tag before others."""
        for release in (self.same, self.last):
            image = release.images.get(name) if release else None
            if image is not None and image.key == key:
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
