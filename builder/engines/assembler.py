"""The engine ``assembler``: makes images in process, and stores them where they are wanted.

An image goes to the Docker Engine as an archive with its new layer only, for it has the others; and
to the registry as blobs and a manifest, without the engine.
"""

from __future__ import annotations

import io
import threading
from collections.abc import Iterator
from functools import cached_property, partial

from msgspec.structs import replace

from builder.core.assemble import Refused
from builder.core.assemble.assemble import thin_archive
from builder.core.engine.answers import LocalImage
from builder.core.engine.failure import BuildFailedError
from builder.core.engine.statuses import CurrentStep, Sink
from builder.core.errors import InterruptedRunError, Location, OcbuildError
from builder.core.events import ASSEMBLER
from builder.core.keys import KEY, key_tag
from builder.core.reference import Reference
from builder.core.registry_content import Content, Manifest
from builder.core.registry_faults import (
    BlobsMissingError,
    RegistryError,
    TlsError,
    UnreachableError,
)
from builder.docker.daemon import Daemon
from builder.engines import BuildRequest, BuildResult, StorableResult
from builder.engines.base_layers import BaseImage, ChangedError, for_platform, read_base
from builder.engines.layer_cache import LayerIndexes, ManifestCache
from builder.engines.together import NewImage, put_together
from builder.registry.blobs import Stored
from builder.registry.client import Registry


class Assembler:
    """Makes images whose Dockerfile has no RUN, on bases that the registry has, too."""

    name = ASSEMBLER

    def __init__(
        self,
        daemon: Daemon,
        registry: Registry,
        indexes: LayerIndexes,
        *,
        platform: str,
        target: Registry | None = None,
        kept: ManifestCache | None = None,
    ) -> None:
        """Read with ``registry``, store with ``target``, which may have more patience."""
        self._kept = kept or ManifestCache(None)
        self._daemon = daemon
        self._registry = registry
        self._target = target or registry
        self._indexes = indexes
        self._platform = platform
        self._lock = threading.Lock()
        self._looking: dict[str, threading.Lock] = {}
        self._bases: dict[tuple[str, bool], BaseImage | Refused] = {}
        self._silent: set[str] = set()
        self._holders: dict[str, Reference] = {}

    def build(self, request: BuildRequest, sink: Sink, cancel: threading.Event) -> BuildResult:
        made = self._put_together(request)
        if cancel.is_set():
            raise InterruptedRunError(f"{request.image}: interrupted")
        sink(CurrentStep(text="putting the image together"))
        self._keep(request, made)
        image_id = made.image_id
        if request.in_engine:
            image_id = self._give_to_engine(request, made, cancel)
        return StorableResult(
            image_id=image_id,
            size=made.size,
            local=request.tags[0],
            blobs=AssembledBlobs(self, made),
        )

    def _give_to_engine(
        self, request: BuildRequest, made: NewImage, cancel: threading.Event
    ) -> str:
        """Have the Docker Engine have it; its id there, which not every store makes alike."""
        where = Location(request.dockerfile_label)
        try:
            if self._has_containerd_store:
                self._have_pulled(request, made, cancel)
            else:
                self._daemon.load(io.BytesIO(thin_archive(made.assembled, request.tags)))
            image = self._daemon.inspect(request.tags[0])
        except OcbuildError as error:
            raise BuildFailedError(
                error.message, where=where, transient=error.transient, hint=error.hint
            ) from error
        if image is None:
            raise BuildFailedError("the engine took the image, but does not have it", where=where)
        return image.id

    def _have_pulled(self, request: BuildRequest, made: NewImage, cancel: threading.Event) -> None:
        """Let the engine fetch the image from the registry, where only its digest names it."""
        reference = made.reference.at(made.manifest.digest)
        name = str(reference)
        self.store(made, reference)
        self._daemon.pull(name, cancel=cancel)
        for tag in request.tags:
            self._daemon.tag(name, tag)

    def upload(self, made: NewImage, target: Reference) -> int:
        """Have what is new in an image in a repository; the bytes that were sent.

        Raises:
            RegistryError: it cannot be stored.

        """
        place = f"{made.image_id} {target.repository}"
        uploaded = 0
        if place not in self._holders:
            blobs = [Content.of(data) for data in made.assembled.blobs]
            uploaded += sum(self._put_blob(blob, target) for blob in blobs)
            self._holders[place] = target
            self._indexes.share(self._target)
        return uploaded

    def store(self, made: NewImage, target: Reference) -> int:
        """Have an image in the registry as ``target``; the bytes that were sent.

        Raises:
            RegistryError: it cannot be stored.

        """
        uploaded = self.upload(made, target)
        try:
            self._target.put(target, made.manifest)
        except BlobsMissingError:
            try:
                brought = self._bring_base(made, target)
            except RegistryError:
                if made.base is not None:
                    self._kept.forget(made.base.manifest.digest)
                raise
            if not uploaded:  # its own were stored before, and may be gone as well
                brought += self._bring_own(made, target)
            self._target.put(target, made.manifest)
            return uploaded + brought
        return uploaded

    # -- making --------------------------------------------------------------------------------

    def _put_together(self, request: BuildRequest) -> NewImage:
        """The image.

        Raises:
            Refused: it is not made here.
            BuildFailedError: its context has changed, or what is published has a fault that passes.
                No other engine is to be asked, for it would make another image of the same key.

        """
        try:
            home = Reference.parse(request.tags[0]).registry
            find = partial(self._find, in_engine=request.in_engine, home=home)
            made = put_together(request, self._registry, find, platform=self._platform)
            if request.in_engine:
                self._require_engine(made.base, published=request.published)
        except ChangedError as changed:
            raise BuildFailedError(
                f"the build context was edited: {changed}",
                where=Location(request.dockerfile_label),
                hint="run the same again",
            ) from changed
        except (OcbuildError, OSError) as error:
            if request.published and isinstance(error, OcbuildError) and error.transient:
                # It is tried again: by luck an engine would make other bytes of the same.
                where = Location(request.dockerfile_label)
                raise BuildFailedError(error.message, where=where, transient=True) from error
            raise Refused(f"it cannot be looked at: {error}") from error
        return made

    def _require_engine(self, base: BaseImage | None, *, published: bool) -> None:
        """Make sure that the engine can take what is built on this base."""
        if self._has_containerd_store:
            if not published:
                raise Refused("the engine's image store takes no archive without the base")
        elif base is not None and base.size is None:
            raise Refused(f"the engine does not have {base.reference}")

    @cached_property
    def _has_containerd_store(self) -> bool:
        return self._daemon.info().containerd_store

    def _find(self, name: str, *, in_engine: bool, home: str) -> BaseImage:
        """The image of this name in the engine, as the registry has it; or by its digest."""
        with self._lock:
            looking = self._looking.setdefault(name, threading.Lock())
        with looking:
            base = self._bases.get((name, in_engine))
            if base is None:
                try:
                    base = self._read(name, in_engine=in_engine, home=home)
                except Refused as refused:
                    base = refused
                self._bases[name, in_engine] = base
        if isinstance(base, Refused):
            raise Refused(base.reason)
        return base

    def _read(self, name: str, *, in_engine: bool, home: str) -> BaseImage:
        reference = Reference.parse(name)
        if reference.digest:  # it names one thing in one registry; docker.io need not be written
            reference = Reference.parse(reference.canonical)
        # An engine that is not to have the image has no say in what it is built on.
        exact = bool(reference.digest)
        image = None if exact and not in_engine else self._daemon.inspect(name)
        if image is None:
            if not exact:
                raise Refused(f"the engine does not have {name}")
            # Another registry than the one that is published to may be out of reach, and its layers
            # with it; an engine may have them.
            near = reference.registry == home
            manifest = self._kept.manifest(reference.digest) if near else None
            if manifest is None:
                manifest = self._manifest(reference)
                if manifest is None:
                    raise Refused(f"{reference} cannot be had from its registry")
                self._kept.keep(manifest.digest, manifest.body)
            where, single = self._single(reference, manifest)
            return read_base(where, single, self._registry, self._indexes, self._kept)
        for candidate in _candidates(reference, image):
            manifest = self._manifest(candidate)
            if manifest is None:
                continue
            where, single = self._single(candidate, manifest)
            # Engines name an image by its config, or with containerd by its manifest or index.
            if image.id in (manifest.digest, *_ids(single)):
                base = read_base(where, single, self._registry, self._indexes, self._kept)
                return replace(base, size=image.size)
        raise Refused(f"no registry has {name} as the engine has it")

    def _single(self, reference: Reference, manifest: Manifest) -> tuple[Reference, Manifest]:
        """The image of our platform where a registry has several in one."""
        if not manifest.is_index:
            return reference, manifest
        digest = for_platform(manifest, self._platform)
        if digest is None:
            raise Refused(f"{reference} has no image that is plainly for {self._platform}")
        where = reference.at(digest)
        return where, self._registry.manifest(where)

    def _manifest(self, candidate: Reference) -> Manifest | None:
        """What a registry has; None where it has nothing, or was found to be out of reach."""
        if candidate.registry in self._silent:
            return None
        try:
            return self._registry.manifest(candidate)
        except (UnreachableError, TlsError):
            self._silent.add(candidate.registry)
        except RegistryError as error:
            if error.transient:
                raise
        return None

    def _keep(self, request: BuildRequest, made: NewImage) -> None:
        if made.assembled.layer is not None:
            self._indexes.keep(made.assembled.layer.digest, made.assembled.layer.index)
        base = made.as_base()
        self._bases.update(
            {(tag, wanted): base for tag in request.tags for wanted in (True, False)}
        )

    # -- storing -------------------------------------------------------------------------------

    def _put_blob(self, content: Content, target: Reference) -> int:
        """Upload a blob, or mount it from where this run has put it already; the bytes sent."""
        holder = self._holders.get(content.digest)
        sent = self._put(content, target, holder, look=False)
        self._holders.setdefault(content.digest, target)
        return sent

    def _bring_own(self, made: NewImage, target: Reference) -> int:
        """Have what is new in an image in a repository that has lost some of it."""
        blobs = [Content.of(data) for data in made.assembled.blobs]
        return sum(self._put(blob, target, None, look=True) for blob in blobs)

    def _bring_base(self, made: NewImage, target: Reference) -> int:
        """Have the layers of the base in a repository that lacks some of them."""
        sent = 0
        base = made.base
        if base is None:
            return sent
        for layer in base.manifest.layers:
            content = Content(
                digest=layer.digest,
                size=layer.size,
                open=partial(base.open, layer.digest, self._registry),
            )
            if layer.digest in base.fresh:
                sent += self._put_blob(content, target)
            else:
                sent += self._put(content, target, base.reference, look=True)
        return sent

    def _put(
        self, content: Content, target: Reference, holder: Reference | None, *, look: bool
    ) -> int:
        source = holder if holder is not None and holder.registry == target.registry else None
        if source is not None and source.repository == target.repository:
            source, look = None, True
        stored = self._target.blobs.put(target, content, mount_from=source, look=look)
        return content.size if stored is Stored.UPLOADED else 0


class AssembledBlobs:
    """An image of this process, which knows how to get to a registry."""

    def __init__(self, assembler: Assembler, made: NewImage) -> None:
        self._assembler = assembler
        self._made = made

    @property
    def manifest(self) -> Manifest:
        return self._made.manifest

    def upload(self, target: Reference) -> int:
        return self._assembler.upload(self._made, target)

    def store(self, target: Reference) -> int:
        return self._assembler.store(self._made, target)


def _candidates(reference: Reference, image: LocalImage) -> Iterator[Reference]:
    """Where the registry of the name may have the image: where it came from, under its key, so."""
    if not reference.registry:
        return
    for text in image.repo_digests:
        known = Reference.parse(Reference.parse(text).canonical)
        if known.registry == reference.registry:
            yield known
    if key := image.labels.get(KEY):
        yield replace(reference, tag=key_tag(key), digest="")
    yield reference


def _ids(manifest: Manifest) -> tuple[str, ...]:
    return (manifest.digest, *(() if manifest.config is None else (manifest.config.digest,)))
