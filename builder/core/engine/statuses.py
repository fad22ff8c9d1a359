"""The statuses of a build as BuildKit tells them: ``buildx --progress=rawjson``, or protobuf.

buildx up to 0.14 prints each object over many indented lines, later ones print one line each, and
both print plain text (log lines, ``ERROR:``) between the objects. So an object starts on a line
that begins with "{", and it ends where the JSON ends.

``POST /build?version=2`` answers ``moby.buildkit.trace`` messages: protobuf in base64. The message
is BuildKit's ``StatusResponse``, of which only the few fields are read that a build log needs, so
no generated code is called for:
https://github.com/moby/buildkit/blob/master/api/services/control/control.proto, encoded as
https://protobuf.dev/programming-guides/encoding/ says.
"""

from __future__ import annotations

import base64
import binascii
import codecs
from collections.abc import Iterator

from msgspec import UNSET, Struct, UnsetType

from builder.core.codec import MalformedError, decode
from builder.core.engine.solve import BuildWarning, Log, PlainText, Status, Vertex

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
