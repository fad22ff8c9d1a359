"""The engine ``engine-api``: BuildKit by way of POST /build?version=2, without the docker command.

BuildKit has no session with us there, so it can ask us neither for secrets nor for logins.
"""

from __future__ import annotations

import functools
import threading

from builder.core.engine.failure import describe, reported_line
from builder.core.engine.solve import PlainText, Progress, Sink, command_of
from builder.core.engine.statuses import BadTraceError, statuses
from builder.docker.daemon import Daemon
from builder.engines import BuildRequest, BuildResult
from builder.engines.archive import hidden
from builder.engines.borrowed import BorrowedNames
from builder.engines.features import awkward, lacking
from builder.engines.place import line_in_file
from builder.engines.posted import Message, post, result

_LACKS = ("secret", "ssh", "syntax", "ignore-file")
# Docker 28, the first where BuildKit finds the posted context with the containerd store, too
# (moby issue 47717).
_MENDED_API = (1, 48)


class EngineApi:
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
        follower = _Follower(Progress(sink))
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
            command = command_of(vertex.name) if vertex else None
            line = reported_line(follower.error)
            if line is None and command is not None:
                line = line_in_file(command, request.dockerfile, request.dockerfile_label)
            raise describe(
                follower.error,
                label=request.dockerfile_label,
                line=line,
                command=command,
                log=progress.tail(vertex) if vertex else (),
            )
        return result(self._daemon, request, follower.image_id, cached=follower.progress.cached)


class _Follower:
    """Reads the messages of one build."""

    def __init__(self, progress: Progress) -> None:
        self.progress = progress
        self.image_id: str | None = None
        self.error: str | None = None

    def __call__(self, message: Message) -> None:
        kind, aux = message.get("id"), message.get("aux")
        if kind == "moby.buildkit.trace" and isinstance(aux, str):
            self._trace(aux)
        elif kind == "moby.image.id" and isinstance(aux, dict):
            self.image_id = aux.get("ID")
        if "error" in message:
            detail = message.get("errorDetail") or {}
            self.error = str(detail.get("message") or message["error"])

    def _trace(self, aux: str) -> None:
        try:
            for status in statuses(aux):
                self.progress.follow(status)
        except BadTraceError as error:
            # The build itself does not depend on what we understand of its progress.
            self.progress.follow(PlainText(text=f"unreadable progress: {error}"))
