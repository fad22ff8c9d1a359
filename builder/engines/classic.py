"""The engine ``classic``: the builder of old engines, by way of POST /build."""

from __future__ import annotations

import threading

from builder.core.assemble import Refused
from builder.core.context import IGNORE_FILE
from builder.core.dockerfile.model import FEATURES
from builder.core.engine.messages import ClassicMessages
from builder.core.engine.place import failure_of, lacking
from builder.core.engine.solve import Sink
from builder.docker.daemon import Daemon
from builder.engines import BuildRequest, BuildResult
from builder.engines.posted import BorrowedNames, awkward, dockerfile_name, post, result

# COPY --from of an image is all that it has of what we call features.
_LACKS = frozenset(FEATURES) - {"copy-from-image"}


class Classic:
    """Makes images without BuildKit."""

    name = "classic"

    def __init__(self, daemon: Daemon, names: BorrowedNames) -> None:
        self._daemon = daemon
        self._names = names

    def refusal(self, request: BuildRequest) -> str | None:
        # It builds stages that the target does not need, and passes over heredocs in silence.
        return (
            lacking(request, _LACKS, every_stage=True)
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
