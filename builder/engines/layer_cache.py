"""What is kept of bases on this machine: indexes of layers, manifests and configs by digest."""

from __future__ import annotations

import gzip
import hashlib
import io
import threading
from contextlib import suppress
from pathlib import Path
from typing import IO, cast

from builder.core.assemble.index import VERSION, LayerIndex, read_layer
from builder.core.reference import Reference
from builder.core.registry_content import (
    Content,
    Descriptor,
    Manifest,
    Verifier,
    is_artifact,
    make_artifact,
)
from builder.core.registry_faults import RegistryError
from builder.registry.client import Registry
from builder.system.files import replace_file

ARTIFACT_TYPE = f"application/vnd.ocbuild.layer-index.v{VERSION}+json"
_DIGITS = 40
_LAYER = "ocbuild.layer"
_BLOCK = 1 << 20
# A layer with a million files has an index of some 100 MiB.
_MOST_BYTES = 256 << 20


class LayerIndexes:
    """For many threads; ``folder`` is None where nothing is kept."""

    def __init__(self, registry: Registry, folder: Path | None) -> None:
        self._registry = registry
        self._folder = folder
        self._lock = threading.Lock()
        self._known: dict[str, LayerIndex] = {}
        self._making: dict[str, threading.Lock] = {}
        self._unshared: dict[str, Reference] = {}

    def of(self, repository: Reference, layer: Descriptor) -> LayerIndex:
        """The index of a layer; the layer is read through where nobody has one yet."""
        with self._lock:
            own = self._making.setdefault(layer.digest, threading.Lock())
        with own:
            found = self._known.get(layer.digest) or self._load(layer.digest)
            if found is None:
                found = self._fetch(repository, layer.digest)
                if found is None:
                    found = self._make(repository, layer)
                    self._unshared[layer.digest] = repository
                self.keep(layer.digest, found)
            self._known[layer.digest] = found
            return found

    def keep(self, digest: str, index: LayerIndex) -> None:
        self._known[digest] = index
        if self._folder is not None:
            with suppress(OSError):  # it is made again where it could not be kept
                replace_file(self._file(digest), index.dump())

    def share(self, target: Registry) -> None:
        """Put what was made here beside the layers, for other machines.

        Not to be allowed to is no fault: they make it themselves then.
        """
        while self._unshared:
            with suppress(KeyError):  # of two threads one is too late
                digest, repository = self._unshared.popitem()
                with suppress(RegistryError):
                    manifest, blobs = artifact(digest, self._known[digest])
                    for blob in blobs:
                        target.blobs.put(repository, blob)
                    target.put(repository.with_tag(tag_of(digest)), manifest)

    def _make(self, repository: Reference, layer: Descriptor) -> LayerIndex:
        with self._registry.blobs.open(repository, layer.digest, size=layer.size) as stream:
            found = read_layer(cast("IO[bytes]", stream), layer.media_type)
            while stream.read(_BLOCK):  # to the end, so that the digest is verified
                pass
        return found

    def _fetch(self, repository: Reference, digest: str) -> LayerIndex | None:
        """The index that somebody has put beside the layer."""
        try:
            manifest = self._registry.manifest(repository.with_tag(tag_of(digest)))
            known = manifest.annotations.get(_LAYER) == digest
            if not known or not is_artifact(manifest, ARTIFACT_TYPE):
                return None
            data = self._registry.blobs.read(repository, manifest.layers[0])
            return LayerIndex.load(_unpacked(data).decode("ascii"))
        except (RegistryError, OSError, EOFError, UnicodeError):
            return None

    def _load(self, digest: str) -> LayerIndex | None:
        if self._folder is None:
            return None
        try:
            return LayerIndex.load(self._file(digest).read_text(encoding="ascii"))
        except (OSError, UnicodeError):
            return None

    def _file(self, digest: str) -> Path:
        name = hashlib.sha256(digest.encode()).hexdigest()
        return Path(self._folder or "") / f"{name}.index"


def _unpacked(data: bytes) -> bytes:
    """What a registry has compressed, as far as one may believe it."""
    with gzip.GzipFile(fileobj=io.BytesIO(data)) as stream:
        plain = stream.read(_MOST_BYTES + 1)
    if len(plain) > _MOST_BYTES:
        raise EOFError("an index of a layer unpacks to more than any index has")
    return plain


def tag_of(digest: str) -> str:
    return f"index-{digest.partition(':')[2][:_DIGITS]}"


def artifact(digest: str, index: LayerIndex) -> tuple[Manifest, tuple[Content, ...]]:
    """The manifest of an index, and the blobs that must be there before it."""
    data = gzip.compress(index.dump().encode("ascii"), mtime=0)
    return make_artifact(ARTIFACT_TYPE, data, {_LAYER: digest})


# -- manifests and configs ---------------------------------------------------------------------


class ManifestCache:
    """For many threads; ``folder`` is None where nothing is kept."""

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder

    def manifest(self, digest: str) -> Manifest | None:
        """The manifest of this digest, if it was kept."""
        body = self._read(digest)
        if body is not None:
            with suppress(RegistryError):
                return Manifest.of(body, digest=digest)
        return None

    def config(self, blob: Descriptor) -> bytes | None:
        """The config that a manifest names, if it was kept."""
        return self._read(blob.digest)

    def keep(self, digest: str, data: bytes) -> None:
        """Have it here the next time, if it is text, as all of these are."""
        if self._folder is not None:
            # It is asked for again where it could not be kept.
            with suppress(OSError, UnicodeError):
                replace_file(self._file(digest), data.decode("utf-8"))

    def forget(self, digest: str) -> None:
        """Ask the registry again, for it may have lost what belongs to it."""
        if self._folder is not None:
            with suppress(OSError):
                self._file(digest).unlink()

    def _read(self, digest: str) -> bytes | None:
        if self._folder is None:
            return None
        try:
            data = self._file(digest).read_bytes()
            verifier = Verifier(digest, "what was kept")
            verifier.feed(data)
            verifier.finish()
        except (OSError, RegistryError):
            return None
        return data

    def _file(self, digest: str) -> Path:
        name = hashlib.sha256(digest.encode()).hexdigest()
        return Path(self._folder or "") / f"{name}.json"
