"""Follows the messages that answer POST /build, of BuildKit or of the builder before it.

https://docs.docker.com/reference/api/engine/ calls the request ImageBuild.
"""

from __future__ import annotations

import re
from collections import deque
from typing import Any

from builder.core.engine.solve import (
    TAIL_LINES,
    CurrentStep,
    OutputLine,
    PlainText,
    Progress,
    Sink,
    cleaned,
)
from builder.core.engine.statuses import BadTraceError, trace_statuses
from builder.core.text import LineSplitter

Message = dict[str, Any]
"""One JSON object of the stream."""
_CLASSIC_STEP = re.compile(r"Step (?P<number>\d+)/(?P<count>\d+) : (?P<command>.*)", re.DOTALL)
_USING_CACHE = " ---> Using cache"


class BuildKitMessages:
    """Reads the messages of one build by the BuildKit of a Docker Engine."""

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
            for status in trace_statuses(aux):
                self.progress.follow(status)
        except BadTraceError as error:
            # The build itself does not depend on what we understand of its progress.
            self.progress.follow(PlainText(text=f"unreadable progress: {error}"))


class ClassicMessages:
    """Reads the messages of one build without BuildKit, which are text with marks in it."""

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
        found = _CLASSIC_STEP.fullmatch(line)
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
