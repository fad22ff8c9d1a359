"""What the assembler reads: bases and indexes from a registry, files from the build context."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Callable, Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import IO, cast

from msgspec import Struct, field

from builder.core.assemble import Content, InContext, InLayer, Refused
from builder.core.assemble.assemble import BaseManifest
from builder.core.assemble.config import ImageConfig
from builder.core.assemble.copy import CopySource, without_links
from builder.core.assemble.files import Below, Node
from builder.core.assemble.index import LayerIndex, Layers, open_layer
from builder.core.context import ContextFile, ContextListing, ContextSource, ReadContext
from builder.core.dockerfile.model import ContextRead
from builder.core.errors import InputError
from builder.core.globs import clean, has_wildcard, printable
from builder.core.reference import Reference
from builder.core.registry_content import Manifest
from builder.engines.layer_cache import LayerIndexes, ManifestCache
from builder.registry.client import Registry
from builder.tree.discover import read_context

# Other names of what every machine of a platform runs.
_ALIKE = {"linux/arm64": ("linux/arm64/v8",), "linux/amd64": ("linux/amd64/v1",)}


class ChangedError(Exception):
    """The context is no longer what the key of the image was made of."""

    def __init__(self, path: str) -> None:
        super().__init__(f'"{printable(path)}" has changed since this run read it')


class BaseImage(Struct, frozen=True, kw_only=True):
    """An image that others are made of; ``reference`` is where the registry has its layers.

    ``indexes`` makes those of its layers, which may mean to read them through. ``fresh`` are the
    layers that this process has made itself and may not have stored yet. ``size`` is what the
    Docker Engine says of the image, None where it was not asked or does not have it.
    """

    reference: Reference
    manifest: Manifest
    config: ImageConfig
    indexes: Callable[[], tuple[LayerIndex, ...]]
    fresh: Mapping[str, bytes] = field(default_factory=dict)
    size: int | None = None

    def __repr__(self) -> str:
        return f"BaseImage({str(self.reference)!r}, {self.manifest!r})"

    @property
    def kept(self) -> BaseManifest:
        """What an image built on this one takes over from its manifest.

        Raises:
            Refused: it has layers that stay where they are.

        """
        if not all(each.distributable for each in self.manifest.layers):
            raise Refused("the base has layers that may not be distributed")
        layers = json.loads(self.manifest.body).get("layers") or ()
        return BaseManifest(media_type=self.manifest.media_type, layers=tuple(layers))

    @property
    def below(self) -> Below:
        digests = tuple(layer.digest for layer in self.manifest.layers)
        return Below(lambda: Layers(self.indexes()), digests)

    def open(self, digest: str, registry: Registry) -> IO[bytes]:
        """The bytes of a layer, compressed as they are."""
        if digest in self.fresh:
            return io.BytesIO(self.fresh[digest])
        return cast("IO[bytes]", registry.blobs.open(self.reference, digest))


def read_base(
    reference: Reference,
    manifest: Manifest,
    registry: Registry,
    indexes: LayerIndexes,
    kept: ManifestCache,
) -> BaseImage:
    """An image of a registry with its config and the indexes of its layers.

    Raises:
        Refused: it is nothing that can be built on here.

    """
    if manifest.is_index or manifest.config is None or manifest.artifact_type:
        raise Refused(f"{reference} is no single image")
    data = kept.config(manifest.config)
    if data is None:
        data = registry.blobs.read(reference, manifest.config)
        kept.keep(manifest.config.digest, data)
    config = ImageConfig.read(data)
    if len(config.diff_ids) != len(manifest.layers):
        raise Refused(f"{reference} has a config that does not fit its layers")
    return BaseImage(
        reference=reference,
        manifest=manifest,
        config=config,
        indexes=lambda: tuple(indexes.of(reference, each) for each in manifest.layers),
    )


def for_platform(index: Manifest, platform: str) -> str | None:
    """The digest of the one image of an index that is for a platform.

    None where there is none, or several, of which an engine takes the one that its machine is
    best at.
    """
    system = "/".join(platform.split("/")[:2])
    found = [
        each
        for each in index.manifests
        if each.platform == system or each.platform.startswith(f"{system}/")
    ]
    if len(found) != 1 or found[0].platform not in (system, platform, *_ALIKE.get(system, ())):
        return None
    return found[0].digest


class Contents:
    """Reads the content that an image is made of, for one build; ``opener`` opens layers.

    ``known`` is the SHA-256 that a file of the context has to have, by its path.
    """

    def __init__(
        self,
        context: Path,
        opener: Callable[[str], IO[bytes]],
        known: Mapping[str, str] | None = None,
    ) -> None:
        self._context = context
        self._open = opener
        self._known = known or {}
        self._taken: dict[str, dict[str, bytes]] = {}

    def read(self, content: Content) -> bytes:
        """The bytes.

        Raises:
            ChangedError: a file of the context does not hold what its key was made of.

        """
        if isinstance(content, bytes):
            return content
        if isinstance(content, InContext):
            return self._of_context(content.path)
        return self._taken[content.layer][content.path]

    def _of_context(self, path: str) -> bytes:
        known = self._known.get(path)
        try:
            data = (self._context / path).read_bytes()
        except OSError as error:
            if known is None:
                raise
            raise ChangedError(path) from error
        if known is not None and sha256(data).hexdigest() != known:
            raise ChangedError(path)
        return data

    def want(self, contents: Sequence[InLayer]) -> None:
        """Take these files of layers, reading each layer once."""
        for layer in sorted({each.layer for each in contents}):
            wanted = {each.path for each in contents if each.layer == layer}
            self._taken.setdefault(layer, {}).update(self._take(layer, wanted))

    def _take(self, layer: str, wanted: set[str]) -> dict[str, bytes]:
        found: dict[str, bytes] = {}
        with self._open(layer) as stream:
            with open_layer(stream) as archive:
                for member in archive:
                    path = clean(f"/{member.name}")[1:]
                    if path in wanted and member.isreg():
                        content = archive.extractfile(member)
                        found[path] = content.read() if content else b""
            while stream.read(1 << 20):  # to the end, so that the digest is verified
                pass
        return found


def context_sources(
    context: Path,
    dockerfile: Path,
    reads: Sequence[ContextRead],
    known: ReadContext | None = None,
) -> list[list[CopySource]]:
    """What each read stands for, as things to copy; ``known`` is the context as it was read before.

    Raises:
        Refused: a source is missing, or is more than path, kind, mode and content.
        ChangedError: what was read before is not there any more.

    """
    if not reads:
        return []
    # The reads differ where a source is told by a variable of an external base.
    if known is not None and known.reads == tuple(reads):
        return _all_sources(context, reads, known.listing, known=True)
    try:
        listing = read_context(context, dockerfile, reads)
    except InputError as error:
        raise Refused(f"the context cannot be read: {error}") from error
    return _all_sources(context, reads, listing, known=False)


def _all_sources(
    context: Path, reads: Sequence[ContextRead], listing: ContextListing, *, known: bool
) -> list[list[CopySource]]:
    try:
        return [
            _sources(context, read, sources)
            for read, sources in zip(reads, listing.sources, strict=True)
        ]
    except (FileNotFoundError, NotADirectoryError) as error:
        if not known:
            raise
        raise ChangedError(os.path.relpath(error.filename, context)) from error


def _sources(
    context: Path, read: ContextRead, sources: Sequence[ContextSource]
) -> list[CopySource]:
    found = [_source(context, each) for each in sources]
    wildcard = next((text for text in read.sources if has_wildcard(text)), None)
    return found if wildcard is None else without_links(found, wildcard)


def _source(context: Path, source: ContextSource) -> CopySource:
    start = len(source.path) + 1 if source.path else 0
    seen: set[tuple[int, int]] = set()
    below = tuple((file.path[start:], _node(context, file, seen)) for file in source.below)
    if source.file is not None and source.file.kind != "dir":
        return CopySource(source.name, _node(context, source.file, seen))
    if source.file is None and source.path:
        raise Refused(f'"{source.path}" is no file, folder or link')
    for folder in (source.path, *(file.path for file in source.below if file.kind == "dir")):
        _refuse_special(context / folder)
    return CopySource(source.name, Node("dir", 0o755, 0, 0), below)


def _refuse_special(folder: Path) -> None:
    with os.scandir(folder) as entries:
        for entry in entries:
            if not (entry.is_symlink() or entry.is_file() or entry.is_dir()):
                raise Refused(f'"{entry.path}" is no file, folder or link')


def _node(context: Path, file: ContextFile, seen: set[tuple[int, int]]) -> Node:
    if file.kind == "link":
        return Node("link", 0o777, 0, 0, link=file.link)
    if file.kind == "dir":
        return Node("dir", file.mode, 0, 0)
    path = context / file.path
    status = path.stat()
    if status.st_nlink > 1:
        name = (status.st_dev, status.st_ino)
        if name in seen:
            raise Refused(f'"{file.path}" is a hard link to another file of the context')
        seen.add(name)
    if "security.capability" in os.listxattr(path):
        raise Refused(f'"{file.path}" has file capabilities')
    return Node("file", file.mode, 0, 0, file.size, content=InContext(path=file.path))
