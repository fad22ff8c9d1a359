"""Runs a program on the file systems of its bases and makes an image of the target stage."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timezone
from hashlib import sha256
from typing import Any

from msgspec import Struct

from builder.core.assemble import Reader, Refused
from builder.core.assemble.copy import Source, copy, make_workdir, sources_in
from builder.core.assemble.files import Below, Files, Node
from builder.core.assemble.layer import Layer, make_layer
from builder.core.assemble.owners import owner_of
from builder.core.assemble.program import Copy, MakeWorkdir, Program
from builder.core.assemble.unpack import Member, unpack

_DOCKER = "application/vnd.docker.distribution.manifest.v2+json"
_OCI = "application/vnd.oci.image.manifest.v1+json"
_TYPES = {
    _DOCKER: (
        "application/vnd.docker.container.image.v1+json",
        "application/vnd.docker.image.rootfs.diff.tar.gzip",
    ),
    _OCI: (
        "application/vnd.oci.image.config.v1+json",
        "application/vnd.oci.image.layer.v1.tar+gzip",
    ),
}


class World(Struct, frozen=True, kw_only=True):
    """All that a program is run in.

    ``below`` gives the layers of an image that a FROM or a COPY --from names, ``members`` what ADD
    would unpack of a file, None where it would not; ``context`` are the sources that each read
    stands for.
    """

    below: Callable[[str], Below]
    context: Sequence[Sequence[Source]]
    reader: Reader
    members: Callable[[Node], Sequence[Member] | None]


class BaseManifest(Struct, frozen=True, kw_only=True):
    """What an image takes over from the manifest of its base: ``layers`` as they stand there."""

    media_type: str = _DOCKER
    layers: tuple[Mapping[str, Any], ...] = ()


class Assembled(Struct, frozen=True, kw_only=True):
    """An image: ``layer`` is the one on top of the base, None where nothing was added to it."""

    media_type: str
    manifest: bytes
    config: bytes
    layer: Layer | None = None

    def __repr__(self) -> str:
        return f"Assembled({self.config_digest!r}, layer={self.layer!r})"

    @property
    def config_digest(self) -> str:
        return f"sha256:{sha256(self.config).hexdigest()}"

    @property
    def blobs(self) -> tuple[bytes, ...]:
        """The blobs that are new."""
        return (*(() if self.layer is None else (self.layer.data,)), self.config)


def assemble(
    program: Program,
    world: World,
    *,
    base: BaseManifest,
    labels: Mapping[str, str],
    created: int,
) -> Assembled:
    """The image of the target stage; ``created`` are the seconds of all its times.

    Raises:
        Refused: it cannot be proved to be what BuildKit makes.

    """
    files: dict[int, Files] = {}
    for index, stage in program.stages.items():
        if isinstance(stage.base, int):
            files[index] = files[stage.base].child()
        else:
            files[index] = Files(Below() if stage.base is None else world.below(stage.base))
        for change in stage.changes:
            _apply(change, files[index], files, world)
    config = program.stages[program.target].config
    config.set_labels({**config.config.get("Labels", {}), **labels})
    layer = make_layer(files[program.target], world.reader, at=created)
    encoded = config.encode(
        diff_id=None if layer is None else layer.diff_id,
        created=datetime.fromtimestamp(created, timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ"),
    )
    return Assembled(
        media_type=base.media_type,
        manifest=_manifest(base, encoded, layer),
        config=encoded,
        layer=layer,
    )


def _apply(
    change: MakeWorkdir | Copy, files: Files, stages: Mapping[int, Files], world: World
) -> None:
    if isinstance(change, MakeWorkdir):
        make_workdir(files, change.path, owner_of(change.user, files, world.reader))
        return
    sources = _sources(change, stages, world)
    owner = owner_of(change.chown, files, world.reader)
    alone = Files(Below())
    if change.link and change.mode is None:
        owner_alone = owner_of(change.chown, alone, world.reader)
        copy(alone, sources, change.target, owner=owner_alone, mode=None)
    for source in sources:
        members = world.members(source.node) if change.unpacks else None
        if members is None:
            copy(files, [source], change.target, owner=owner, mode=change.mode)
        elif change.link or change.chown or change.mode is not None:
            raise Refused(f'ADD unpacks "{source.name}" with a flag that engines may pass over')
        else:
            unpack(files, members, change.target, owner)
    for path, node in alone.changes.items():
        if files.find(path) != node:
            raise Refused(f'--link: engines would not agree on "/{path}"')


def _sources(change: Copy, stages: Mapping[int, Files], world: World) -> list[Source]:
    found: list[Source] = []
    if isinstance(change.origin, int):
        for text in change.sources:
            found.extend(sources_in(stages[change.origin], text))
    elif change.origin is not None:
        image = Files(world.below(change.origin))
        for text in change.sources:
            found.extend(sources_in(image, text))
    elif change.read is not None:
        found.extend(world.context[change.read])
    for name, content in change.documents:
        found.append(Source(name, Node("file", 0o644, 0, 0, len(content), content=content)))
    return found


def _manifest(base: BaseManifest, config: bytes, layer: Layer | None) -> bytes:
    if base.media_type not in _TYPES:
        raise Refused("the base is an index")
    config_type, layer_type = _TYPES[base.media_type]
    layers = list(base.layers)
    if layer is not None:
        layers.append({"mediaType": layer_type, "digest": layer.digest, "size": len(layer.data)})
    content = {
        "schemaVersion": 2,
        "mediaType": base.media_type,
        "config": {
            "mediaType": config_type,
            "digest": f"sha256:{sha256(config).hexdigest()}",
            "size": len(config),
        },
        "layers": layers,
    }
    return json.dumps(content).encode()
