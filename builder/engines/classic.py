"""The engines that post a context to the Docker Engine: engine-api (BuildKit), and classic."""

from __future__ import annotations

import functools
import threading

from builder.core.assemble import Refused
from builder.core.context import IGNORE_FILE
from builder.core.dockerfile.model import FEATURES
from builder.core.engine.messages import BuildKitMessages, ClassicMessages
from builder.core.engine.place import failure_of, lacking
from builder.core.engine.statuses import Progress, Sink, command_of
from builder.docker.daemon import Daemon
from builder.engines import BuildRequest, BuildResult
from builder.engines.posted import BorrowedNames, awkward, dockerfile_name, hidden, post, result

_LACKS = ("secret", "ssh", "syntax", "ignore-file")
# Docker 28, the first where BuildKit finds the posted context with the containerd store, too
# (moby issue 47717).
_MENDED_API = (1, 48)


class BuildKitApi:
    """Makes images with the engine's own BuildKit."""

    name = "engine-api"

    def __init__(self, daemon: Daemon, names: BorrowedNames) -> None:
        self._daemon = daemon
        self._names = names
        self._lock = threading.Lock()

    def refusal(self, request: BuildRequest) -> str | None:
        with self._lock:
            unusable = self._unusable
        reason = unusable or lacking(request, _LACKS) or awkward(request)
        if reason is not None:
            return reason
        name = hidden(request)
        if name is not None:
            return f"the ignore file leaves out {name}, which it would show to COPY all the same"
        return self._names.refusal(request.contexts)

    @functools.cached_property
    def _unusable(self) -> str | None:
        """Why this Docker Engine cannot be asked at all; found out once."""
        info = self._daemon.info()
        if info.os != "linux":
            return f"the Docker Engine runs on {info.os}, where it has no BuildKit"
        version = tuple(int(part) for part in info.api_version.split(".") if part.isdigit())
        if info.containerd_store and version < _MENDED_API:
            return "the Docker Engine has the containerd image store and is older than 28"
        return None

    def build(self, request: BuildRequest, sink: Sink, cancel: threading.Event) -> BuildResult:
        if reason := self.refusal(request):
            raise Refused(reason)
        follower = BuildKitMessages(Progress(sink))
        post(
            self._daemon,
            self._names,
            request,
            version="2",
            always=(),
            cancel=cancel,
            on_message=follower,
        )
        follower.progress.end()
        if follower.error is not None:
            progress = follower.progress
            vertex = progress.failed
            raise failure_of(
                request,
                follower.error,
                command=command_of(vertex.name) if vertex else None,
                log=progress.tail(vertex) if vertex else (),
            )
        return result(self._daemon, request, follower.image_id, cached=follower.progress.cached)


# COPY --from of an image is all that it has of what we call features.
_CLASSIC_LACKS = frozenset(FEATURES) - {"copy-from-image"}


class Classic:
    """Makes images without BuildKit."""

    name = "classic"

    def __init__(self, daemon: Daemon, names: BorrowedNames) -> None:
        self._daemon = daemon
        self._names = names

    def refusal(self, request: BuildRequest) -> str | None:
        # It builds stages that the target does not need, and passes over heredocs in silence.
        return (
            lacking(request, _CLASSIC_LACKS, every_stage=True)
            or awkward(request)
            or self._names.refusal(request.contexts)
        )

    def build(self, request: BuildRequest, sink: Sink, cancel: threading.Event) -> BuildResult:
        if reason := self.refusal(request):
            raise Refused(reason)
        follower = ClassicMessages(sink)
        post(
            self._daemon,
            self._names,
            request,
            version="1",
            # The engine reads both, and then takes out itself what the ignore file leaves out.
            always=(dockerfile_name(request), IGNORE_FILE),
            cancel=cancel,
            on_message=follower,
        )
        follower.end()
        if follower.error is not None:
            raise failure_of(
                request,
                follower.error,
                step=follower.step,
                command=follower.command,
                log=follower.tail,
            )
        return result(self._daemon, request, follower.image_id, cached=follower.cached)
