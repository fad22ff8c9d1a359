"""What makes an image: the Engine and Maker protocols, and those that keep them."""

from __future__ import annotations

import threading
from typing import Protocol

from builder.core.dockerfile.parse import parse, renamed
from builder.core.engine.failure import BuildFailedError
from builder.core.engine.request import (
    BuildRequest,
    BuildResult,
    SecretSource,
)
from builder.core.engine.statuses import Sink
from builder.core.errors import DockerfileError, Location
from builder.core.registry_content import BlobSource

__all__ = [
    "BuildRequest",
    "BuildResult",
    "Engine",
    "Maker",
    "SecretSource",
    "StorableResult",
]


class StorableResult(BuildResult, frozen=True, kw_only=True):
    """The result of an engine that can put its image into a registry itself."""

    blobs: BlobSource


def renamed_dockerfile(request: BuildRequest) -> bytes | None:
    """The Dockerfile with the names that clash replaced; None where none does.

    Raises:
        BuildFailedError: it is no longer the one that the key was made of, or cannot be mended.

    """
    if not request.names:
        return None
    where = Location(request.dockerfile_label)
    try:
        data = request.dockerfile.read_bytes()
        if parse(data, request.parsed.path) != request.parsed:
            raise BuildFailedError("the Dockerfile has changed since the run began", where=where)
        return renamed(data, request.parsed.path, request.uses, request.names)
    except OSError as error:
        raise BuildFailedError(f"cannot be read: {error.strerror}", where=where) from error
    except DockerfileError as error:
        raise BuildFailedError(error.message, where=error.where, hint=error.hint) from error


class Engine(Protocol):
    """Makes images in one way.

    ``build`` raises Refused where this engine cannot make the image: one that lacks a feature never
    degrades. It raises BuildFailedError of core.engine.failure for a failing instruction or a
    fault, with ``transient`` set where a retry can help, and InterruptedRunError once ``cancel``
    was set.
    """

    @property
    def name(self) -> str: ...

    def build(self, request: BuildRequest, sink: Sink, cancel: threading.Event) -> BuildResult: ...


class Maker(Protocol):
    """Makes the images of a run, by whichever engine can; called from many threads at once."""

    def make(self, request: BuildRequest, sink: Sink, cancel: threading.Event) -> BuildResult:
        """The image; the sink is also told which engines were passed over, and why.

        Raises:
            BuildError: no engine can make it, or it fails.
            InterruptedRunError: ``cancel`` was set.

        """
