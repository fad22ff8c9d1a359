"""Puts one image together: finds its bases, reads its context, follows its steps."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import IO

from msgspec import Struct

from builder.core.assemble import InContext, Refused
from builder.core.assemble.assemble import MOST_BYTES, Assembled, BaseManifest, World, assemble
from builder.core.assemble.config import ImageConfig
from builder.core.assemble.copy import HEAD, ArchiveMember, is_archive, members_of
from builder.core.assemble.files import Below, Node
from builder.core.assemble.index import LayerIndex
from builder.core.assemble.program import read_program
from builder.core.bases import familiar, image_of
from builder.core.dockerfile.evaluate import is_usual_frontend
from builder.core.reference import BadReferenceError, Reference
from builder.core.registry_content import Manifest
from builder.core.registry_faults import RegistryError
from builder.core.text import moment
from builder.engines import BuildRequest
from builder.engines.base_layers import BaseImage, Contents, context_sources
from builder.registry.client import Registry

CREATED = "org.opencontainers.image.created"
EPOCH = "SOURCE_DATE_EPOCH"
_NUMBER = re.compile(r"[0-9]+")


class NewImage(Struct, frozen=True, kw_only=True):
    """An image that was put together; ``base`` is None for one that starts from scratch."""

    assembled: Assembled
    manifest: Manifest
    base: BaseImage | None
    reference: Reference

    @property
    def image_id(self) -> str:
        return self.assembled.config_digest

    @property
    def size(self) -> int | None:
        """The bytes of all its files, as an engine counts them; None on an unknown base."""
        layer = self.assembled.layer
        own = 0 if layer is None else layer.size
        if self.base is None:
            return own
        return None if self.base.size is None else self.base.size + own

    def as_base(self) -> BaseImage:
        """The same as a base of other images, before anybody has stored it."""
        layer = self.assembled.layer
        return BaseImage(
            reference=self.reference if self.base is None else self.base.reference,
            manifest=self.manifest,
            config=ImageConfig.read(self.assembled.config),
            indexes=self._indexes,
            size=self.size,
            fresh={
                **({} if self.base is None else self.base.fresh),
                **({} if layer is None else {layer.digest: layer.data}),
            },
        )

    def _indexes(self) -> tuple[LayerIndex, ...]:
        layer = self.assembled.layer
        return (
            *(() if self.base is None else self.base.indexes()),
            *(() if layer is None else (layer.index,)),
        )


def put_together(
    request: BuildRequest, registry: Registry, find: Callable[[str], BaseImage], *, platform: str
) -> NewImage:
    """The image of a request; ``find`` gives the image that a FROM or a COPY --from comes to.

    ``platform`` is that of the engine, for which the image is if the request names no other.

    Raises:
        Refused: only an engine can make it, or only an engine can be trusted to.
        ChangedError: its context is no longer what its key was made of.

    """
    return _Building(request, registry, find, platform).made()


class _Building:
    """One image being put together."""

    def __init__(
        self,
        request: BuildRequest,
        registry: Registry,
        find: Callable[[str], BaseImage],
        platform: str,
    ) -> None:
        self._request = request
        self._registry = registry
        self._find_image = find
        self._contexts = {familiar(name): value for name, value in request.contexts.items()}
        self._used: dict[str, BaseImage] = {}
        known = None if request.read is None else request.read.contents
        self._contents = Contents(request.context, self._open, known)
        self._platform = request.platform or platform
        self._build_platform = platform

    def made(self) -> NewImage:
        request = self._request
        dockerfile = request.parsed
        frontend = request.args.get("BUILDKIT_SYNTAX", dockerfile.syntax)
        if not is_usual_frontend(frontend):
            raise Refused(f'the frontend "{frontend}" is not the usual one')
        if request.names:
            raise Refused(f'"{min(request.names)}" is an image and a stage, or two images')
        program = read_program(
            dockerfile,
            build_args=request.args,
            target=request.target,
            platform=self._platform,
            build_platform=self._build_platform,
            config_of=self._config,
        )
        goal = program.stages[program.target].base
        while isinstance(goal, int):
            goal = program.stages[goal].base
        base = None if goal is None else self._find(goal)
        assembled = assemble(
            program,
            World(
                below=self._below,
                context=context_sources(
                    request.context, request.dockerfile, program.reads, request.read
                ),
                reader=self._contents,
                members=self._members,
            ),
            base=BaseManifest() if base is None else base.kept,
            labels=request.labels,
            created=created_at(request),
        )
        return NewImage(
            assembled=assembled,
            manifest=Manifest.of(assembled.manifest, assembled.media_type),
            base=base,
            reference=Reference.parse(request.tags[0]),
        )

    def _config(self, text: str) -> ImageConfig:
        config = self._find(text).config
        system, architecture, *_ = self._platform.split("/")
        if (config.top.get("os"), config.top.get("architecture")) != (system, architecture):
            raise Refused(f'"{text}" is not for {self._platform}')
        return config

    def _below(self, text: str) -> Below:
        return self._find(text).below

    def _find(self, text: str) -> BaseImage:
        if text not in self._used:
            value = self._contexts.get(familiar(text), text)
            name = image_of(value) if text != value else text
            if name is None:
                raise Refused(f'"{text}" is redirected to what is no image')
            try:
                self._used[text] = self._find_image(name)
            except (RegistryError, BadReferenceError) as error:
                if self._request.published and error.transient:
                    raise
                raise Refused(f'"{text}" cannot be had from the registry: {error}') from error
        return self._used[text]

    def _open(self, digest: str) -> IO[bytes]:
        for base in self._used.values():
            if any(layer.digest == digest for layer in base.manifest.layers):
                return base.open(digest, self._registry)
        raise Refused(f"nobody has the layer {digest}")

    def _members(self, node: Node) -> list[ArchiveMember] | None:
        if node.kind != "file" or not isinstance(node.content, InContext):
            return None
        if node.size > MOST_BYTES:
            with (self._request.context / node.content.path).open("rb") as file:
                if is_archive(file.read(HEAD)):
                    raise Refused(f"ADD takes an archive of {node.size >> 20} MiB")
            return None
        data = self._contents.read(node.content)
        return members_of(data, most=MOST_BYTES) if is_archive(data[:HEAD]) else None


def created_at(request: BuildRequest) -> int:
    """The seconds that all times of the image say: those of the source, else none."""
    epoch = request.args.get(EPOCH, "")
    if _NUMBER.fullmatch(epoch):
        return int(epoch)
    created = moment(request.labels.get(CREATED, ""))
    return int(created.timestamp()) if created is not None else 0
