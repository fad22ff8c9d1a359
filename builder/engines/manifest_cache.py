"""Manifests and configs of bases, kept on this machine by the digests that name them."""

from __future__ import annotations

import hashlib
from contextlib import suppress
from pathlib import Path

from builder.core.registry_content import Descriptor, Manifest, Verifier
from builder.core.registry_faults import RegistryError
from builder.system.files import replace_file


class Kept:
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
