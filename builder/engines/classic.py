"""The engine ``classic``: the builder of old engines, by way of POST /build."""

from __future__ import annotations

import re
import threading
from collections import deque

from builder.core.dockerfile.model import FEATURES
from builder.core.engine.failure import describe, reported_line
from builder.core.engine.solve import TAIL_LINES, CurrentStep, OutputLine, Sink, cleaned
from builder.core.text import LineSplitter
from builder.docker.daemon import Daemon
from builder.engines import BuildRequest, BuildResult
from builder.engines.archive import dockerfile_name
from builder.engines.borrowed import BorrowedNames
from builder.engines.features import awkward, lacking
from builder.engines.place import line_of_step, read_dockerfile
from builder.engines.posted import Message, post, result
from builder.tree.context import IGNORE_FILE

# COPY --from of an image is all that it has of what we call features.
_LACKS = frozenset(FEATURES) - {"copy-from-image"}
_STEP = re.compile(r"Step (?P<number>\d+)/(?P<count>\d+) : (?P<command>.*)", re.DOTALL)
_USING_CACHE = " ---> Using cache"


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
        follower = _Follower(sink)
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
            line = reported_line(follower.error)
            dockerfile = read_dockerfile(request.dockerfile, request.dockerfile_label)
            if line is None and dockerfile is not None:
                line = line_of_step(follower.step, dockerfile)
            raise describe(
                follower.error,
                label=request.dockerfile_label,
                line=line,
                command=follower.command,
                log=follower.tail,
            )
        return result(self._daemon, request, follower.image_id, cached=follower.cached)


class _Follower:
    """Reads the messages of one build, which are text with marks in it."""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._lines = LineSplitter(self._line)
        self._tail: deque[str] = deque(maxlen=TAIL_LINES)
        self._steps = 0
        self._hits = 0
        self.step = 0
        self.command: str | None = None
        self.image_id: str | None = None
        self.error: str | None = None

    def __call__(self, message: Message) -> None:
        text = message.get("stream")
        if isinstance(text, str):
            self._lines(text.encode())
        aux = message.get("aux")
        if isinstance(aux, dict):
            self.image_id = aux.get("ID", self.image_id)
        if "error" in message:
            detail = message.get("errorDetail") or {}
            self.error = str(detail.get("message") or message["error"])

    def end(self) -> None:
        self._lines.end()

    @property
    def cached(self) -> bool:
        return self._hits == self._steps

    @property
    def tail(self) -> tuple[str, ...]:
        return tuple(self._tail)

    def _line(self, line: str) -> None:
        line = cleaned(line)
        found = _STEP.fullmatch(line)
        if found:
            self.step = int(found["number"])
            self.command = found["command"].strip()
            self._steps += not self.command.startswith("FROM ")
            self._tail.clear()
            self._sink(CurrentStep(text=f"[{found['number']}/{found['count']}] {self.command}"))
            return
        self._hits += line == _USING_CACHE
        if not line.startswith(" ---> "):
            self._tail.append(line)
        self._sink(OutputLine(text=line))
