"""What BuildKit says while it solves a build, as values, and what is worth keeping of it."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable

from msgspec import Struct
from msgspec.structs import replace

from builder.core.text import LineSplitter

TAIL_LINES = 20

_STEP = re.compile(r"\[(?:[^\]]* )?\d+/\d+\] (?P<command>.*)", re.DOTALL)
_COLOURS = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")


class OutputLine(Struct, frozen=True, kw_only=True):
    """A line that a step of the build printed, without newline."""

    text: str


class CurrentStep(Struct, frozen=True, kw_only=True):
    """The instruction that the engine is working on, e.g. "[2/5] RUN apt-get update"."""

    text: str


Output = OutputLine | CurrentStep
Sink = Callable[[Output], None]


class Vertex(Struct, frozen=True, kw_only=True):
    """The state of one step; it is told again and again, each time with what is new."""

    digest: str
    name: str
    started: bool = False
    completed: bool = False
    cached: bool = False
    error: str = ""


class Log(Struct, frozen=True, kw_only=True):
    """Bytes that a step printed; they may end anywhere, even inside a character."""

    vertex: str
    data: bytes


class BuildWarning(Struct, frozen=True, kw_only=True):
    """What BuildKit thinks odd about the Dockerfile."""

    text: str


class PlainText(Struct, frozen=True, kw_only=True):
    """A line that is no status: a log line of the program, or its final ``ERROR:``."""

    text: str


Status = Vertex | Log | BuildWarning | PlainText


def command_of(name: str) -> str | None:
    """The instruction in a vertex name: ``[builder 3/5] RUN make`` → ``RUN make``."""
    found = _STEP.fullmatch(name)
    return None if found is None else found["command"]


def cleaned(line: str) -> str:
    """A line of output as it looks on a screen in the end: no colours, no redrawing."""
    return _COLOURS.sub("", line.rsplit("\r", 1)[-1])


class Progress:
    """Follows one build: hands on its output and remembers what a failure message needs."""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._vertices: dict[str, Vertex] = {}
        self._announced: set[str] = set()
        self._warned: set[str] = set()
        self._lines: dict[str, LineSplitter] = {}
        self._tails: dict[str, deque[str]] = {}
        self._plain: list[str] = []

    def follow(self, status: Status) -> None:
        if isinstance(status, Vertex):
            self._follow_vertex(status)
        elif isinstance(status, Log):
            self._lines_of(status.vertex)(status.data)
        elif isinstance(status, BuildWarning):
            if status.text not in self._warned:
                self._warned.add(status.text)
                self._sink(OutputLine(text=f"warning: {status.text}"))
        else:
            self._plain.append(status.text)
            self._sink(OutputLine(text=status.text))

    def end(self) -> None:
        """Give up the last lines, which may have come without an end."""
        for lines in self._lines.values():
            lines.end()

    @property
    def cached(self) -> bool:
        """Whether no step had to run: metadata and the base itself make no step."""
        steps = [
            vertex
            for vertex in self._vertices.values()
            if (command := command_of(vertex.name)) and not command.startswith("FROM ")
        ]
        return all(vertex.cached for vertex in steps)

    @property
    def failed(self) -> Vertex | None:
        """The vertex that failed first; those that were only called off with it do not count."""
        failed = [vertex for vertex in self._vertices.values() if vertex.error]
        own = [vertex for vertex in failed if "context canceled" not in vertex.error]
        return next(iter(own or failed), None)

    def tail(self, vertex: Vertex) -> tuple[str, ...]:
        """The last lines that the vertex printed."""
        return tuple(self._tails.get(vertex.digest, ()))

    @property
    def plain(self) -> str:
        """All that was said outside the status stream."""
        return "\n".join(self._plain)

    def _follow_vertex(self, vertex: Vertex) -> None:
        before = self._vertices.get(vertex.digest)
        if before is not None and before.cached:
            vertex = replace(vertex, cached=True)
        self._vertices[vertex.digest] = vertex
        if vertex.started and vertex.digest not in self._announced:
            self._announced.add(vertex.digest)
            self._sink(CurrentStep(text=" ".join(vertex.name.split())))
        if vertex.completed and vertex.digest in self._lines:
            self._lines[vertex.digest].end()

    def _lines_of(self, vertex: str) -> LineSplitter:
        if vertex not in self._lines:
            self._tails[vertex] = deque(maxlen=TAIL_LINES)
            self._lines[vertex] = LineSplitter(self._printer(self._tails[vertex]))
        return self._lines[vertex]

    def _printer(self, tail: deque[str]) -> Callable[[str], None]:
        def show(line: str) -> None:
            line = cleaned(line)
            tail.append(line)
            self._sink(OutputLine(text=line))

        return show
