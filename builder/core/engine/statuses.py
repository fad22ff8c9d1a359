"""The statuses of a build as BuildKit tells them, and what is worth keeping of them."""

from __future__ import annotations

import base64
import binascii
import codecs
import re
from collections import deque
from collections.abc import Callable, Iterator

from msgspec import UNSET, Struct, UnsetType
from msgspec.structs import replace

from builder.core.codec import MalformedError, decode
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


# No status comes near this; text that only looks like JSON must not be hoarded for ever.
_LONGEST_OBJECT = 16 * 1024 * 1024


class RawJsonDecoder:
    """``feed`` takes bytes and gives the statuses that are complete; ``end`` gives the rest."""

    def __init__(self) -> None:
        self._text = codecs.getincrementaldecoder("utf-8")("replace")
        self._rest = ""
        self._object: list[str] = []
        self._size = 0

    def feed(self, data: bytes) -> list[Status]:
        return list(self._take(self._text.decode(data)))

    def end(self) -> list[Status]:
        statuses = list(self._take(self._text.decode(b"", final=True)))
        if self._rest:
            statuses += self._line(self._rest)
            self._rest = ""
        statuses += self._give_up()
        return statuses

    def _take(self, text: str) -> Iterator[Status]:
        *lines, self._rest = (self._rest + text).split("\n")
        for line in lines:
            yield from self._line(line.removesuffix("\r"))

    def _line(self, line: str) -> Iterator[Status]:
        if self._object:
            yield from self._continue(line)
        elif line.startswith("{"):
            yield from self._start(line)
        elif line:
            yield PlainText(text=line)

    def _start(self, line: str) -> Iterator[Status]:
        decoded = _decoded(line)
        if decoded is not None:
            yield from _from_json(decoded)
        elif line == "{":
            self._object = [line]
            self._size = len(line)
        else:
            yield PlainText(text=line)

    def _continue(self, line: str) -> Iterator[Status]:
        # Only a line of the object's own indentation can end it, so nothing else is tried.
        if not line.startswith((" ", "}")) or self._size > _LONGEST_OBJECT:
            yield from self._give_up()
            yield from self._line(line)
            return
        self._object.append(line)
        self._size += len(line)
        if line == "}":
            decoded = _decoded("\n".join(self._object))
            if decoded is None:
                yield from self._give_up()
            else:
                self._object = []
                yield from _from_json(decoded)

    def _give_up(self) -> list[Status]:
        lines, self._object = self._object, []
        return [PlainText(text=line) for line in lines if line]


class _JsonVertex(Struct):
    digest: str = ""
    name: str = ""
    started: str | UnsetType | None = UNSET
    completed: str | UnsetType | None = UNSET
    cached: bool | None = None
    error: str | None = None


class _JsonLog(Struct):
    vertex: str = ""
    data: str | None = None


class _JsonWarning(Struct):
    short: str | None = None


class _SolveStatus(Struct):
    """What is read of client.SolveStatus; Go writes an empty list as null."""

    vertexes: list[_JsonVertex] | None = None
    logs: list[_JsonLog] | None = None
    warnings: list[_JsonWarning] | None = None


def _decoded(text: str) -> _SolveStatus | None:
    try:
        return decode(text, _SolveStatus, what="a status", most=_LONGEST_OBJECT)
    except MalformedError:
        return None


def _from_json(decoded: _SolveStatus) -> Iterator[Status]:
    for vertex in decoded.vertexes or ():
        yield Vertex(
            digest=vertex.digest,
            name=vertex.name,
            started=vertex.started is not UNSET,
            completed=vertex.completed is not UNSET,
            cached=bool(vertex.cached),
            error=vertex.error or "",
        )
    for log in decoded.logs or ():
        yield Log(vertex=log.vertex, data=_bytes(log.data or ""))
    for warning in decoded.warnings or ():
        yield BuildWarning(text=_bytes(warning.short or "").decode("utf-8", "replace"))


def _bytes(text: str) -> bytes:
    """Go writes ``[]byte`` as base64."""
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error:
        return text.encode()


_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_VERTEXES, _LOGS, _WARNINGS = 1, 3, 4
_DIGEST, _NAME, _CACHED, _STARTED, _COMPLETED, _ERROR = 1, 3, 4, 5, 6, 7
_LOG_VERTEX, _LOG_DATA = 1, 4
_WARNING_SHORT = 3


class BadTraceError(ValueError):
    """The bytes are no protobuf message."""


def trace_statuses(aux: str) -> list[Status]:
    """The statuses in the ``aux`` text of one message.

    Raises:
        BadTraceError: if it is no base64 or no protobuf message.

    """
    try:
        message = base64.b64decode(aux, validate=True)
    except binascii.Error as error:
        raise BadTraceError(str(error)) from error
    found: list[Status] = []
    for number, value in fields(message):
        if not isinstance(value, bytes):
            continue
        if number == _VERTEXES:
            found.append(_vertex(value))
        elif number == _LOGS:
            found.append(_log(value))
        elif number == _WARNINGS:
            found.append(BuildWarning(text=_text(dict(fields(value)).get(_WARNING_SHORT, b""))))
    return found


def fields(message: bytes) -> Iterator[tuple[int, int | bytes]]:
    """The fields of a protobuf message in order: number and value; nothing is interpreted."""
    at = 0
    while at < len(message):
        tag, at = _varint(message, at)
        number, kind = tag >> 3, tag & 7
        if kind == _VARINT:
            value, at = _varint(message, at)
            yield number, value
            continue
        if kind == _BYTES:
            size, at = _varint(message, at)
        elif kind == _FIXED64:
            size = 8
        elif kind == _FIXED32:
            size = 4
        else:
            raise BadTraceError(f"field {number} has the unknown wire type {kind}")
        if at + size > len(message):
            raise BadTraceError(f"field {number} ends after the message")
        yield number, message[at : at + size]
        at += size


def _varint(message: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while at < len(message):
        byte = message[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if not byte & 0x80:
            return value, at
        shift += 7
    raise BadTraceError("a number ends after the message")


def _text(value: int | bytes) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else ""


def _vertex(message: bytes) -> Vertex:
    values = dict(fields(message))
    return Vertex(
        digest=_text(values.get(_DIGEST, b"")),
        name=_text(values.get(_NAME, b"")),
        cached=bool(values.get(_CACHED, 0)),
        started=_STARTED in values,
        completed=_COMPLETED in values,
        error=_text(values.get(_ERROR, b"")),
    )


def _log(message: bytes) -> Log:
    values = dict(fields(message))
    data = values.get(_LOG_DATA, b"")
    vertex = _text(values.get(_LOG_VERTEX, b""))
    return Log(vertex=vertex, data=data if isinstance(data, bytes) else b"")
