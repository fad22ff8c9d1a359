"""The engine ``assembler``: puts an image together in process and stores it in the registry."""

from __future__ import annotations

import re
from datetime import datetime

from builder.assembler import InContext, Refused
from builder.assembler.assemble import Assembled, BaseManifest, World, assemble
from builder.assembler.config import ImageConfig
from builder.assembler.files import Below, Node
from builder.assembler.program import read_program
from builder.dockerfile.evaluate import is_usual_frontend
from builder.dockerfile.parse import parse
from builder.engines import BuildRequest
from builder.engines.assembled import (
    Base,
    Bases,
    Contents,
    context_sources,
    is_archive,
)
from builder.engines.redirect import familiar, image_of
from builder.errors import InputError
from builder.reference import BadReferenceError, Reference
from builder.registry.client import Registry
from builder.registry.content import Descriptor
from builder.registry.faults import RegistryError

CREATED = "org.opencontainers.image.created"
EPOCH = "SOURCE_DATE_EPOCH"
_HEAD = 512
_NUMBER = re.compile(r"[0-9]+")


def put_together(
    request: BuildRequest, registry: Registry, bases: Bases, *, platform: str
) -> Assembled:
    """The image of a request, as it would be stored.

    Raises:
        Refused: only an engine can make it, or only an engine can be trusted to.

    """
    return _Building(request, registry, bases, request.platform or platform).assembled()


class _Building:
    """One image being put together."""

    def __init__(
        self, request: BuildRequest, registry: Registry, bases: Bases, platform: str
    ) -> None:
        self._request = request
        self._registry = registry
        self._bases = bases
        self._contexts = {familiar(name): value for name, value in request.contexts.items()}
        self._used: dict[str, Base] = {}
        self._platform = platform

    def assembled(self) -> Assembled:
        request = self._request
        try:
            dockerfile = parse(request.dockerfile.read_bytes(), request.dockerfile_label)
        except (OSError, InputError) as error:
            raise Refused(f"the Dockerfile cannot be read: {error}") from error
        frontend = request.args.get("BUILDKIT_SYNTAX", dockerfile.syntax)
        if not is_usual_frontend(frontend):
            raise Refused(f'the frontend "{frontend}" is not the usual one')
        for stage in dockerfile.stages:
            if stage.name and familiar(stage.name) in self._contexts:
                raise Refused(f'the stage "{stage.name}" is redirected')
        program = read_program(
            dockerfile,
            build_args=request.args,
            target=request.target,
            platform=self._platform,
            config_of=self._config,
        )
        goal = program.stages[program.target].base
        while isinstance(goal, int):
            goal = program.stages[goal].base
        contents = Contents(request.context, self._registry, self._layer)
        return assemble(
            program,
            World(
                below=self._below,
                context=context_sources(request.context, request.dockerfile, program.reads),
                reader=contents,
                archive=self._is_archive,
            ),
            base=BaseManifest() if goal is None else self._find(goal).kept,
            labels=request.labels,
            created=created_at(request),
        )

    def _config(self, text: str) -> ImageConfig:
        config = self._find(text).config
        system, architecture, *_ = self._platform.split("/")
        if (config.top.get("os"), config.top.get("architecture")) != (system, architecture):
            raise Refused(f'"{text}" is not for {self._platform}')
        return config

    def _below(self, text: str) -> Below:
        return self._find(text).below

    def _find(self, text: str) -> Base:
        if text not in self._used:
            value = self._contexts.get(familiar(text), text)
            name = image_of(value) if text != value else text
            if name is None:
                raise Refused(f'"{text}" is redirected to what is no image')
            try:
                self._used[text] = self._bases.find(Reference.parse(name))
            except (RegistryError, BadReferenceError) as error:
                raise Refused(f'"{text}" cannot be had from the registry: {error}') from error
        return self._used[text]

    def _layer(self, digest: str) -> tuple[Reference, Descriptor]:
        for base in self._used.values():
            for layer in base.manifest.layers:
                if layer.digest == digest:
                    return base.reference, layer
        raise Refused(f"nobody has the layer {digest}")

    def _is_archive(self, node: Node) -> bool:
        if not isinstance(node.content, InContext):
            return False
        with (self._request.context / node.content.path).open("rb") as file:
            return is_archive(file.read(_HEAD))


def created_at(request: BuildRequest) -> int:
    """The seconds that all times of the image say: those of the source, else none."""
    epoch = request.args.get(EPOCH, "")
    if _NUMBER.fullmatch(epoch):
        return int(epoch)
    text = request.labels.get(CREATED, "")
    return _seconds(text) if text else 0


def _seconds(text: str) -> int:
    try:
        return int(datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp())
    except ValueError:
        return 0
