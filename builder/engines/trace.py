"""Decodes the ``moby.buildkit.trace`` messages of POST /build?version=2: protobuf in base64.

The message is BuildKit's ``StatusResponse`` (``api/services/control/control.proto``); only the few
fields that a build log needs are read, so no generated code is called for.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator

from builder.engines.solve import BuildWarning, Log, Status, Vertex

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_VERTEXES, _LOGS, _WARNINGS = 1, 3, 4
_DIGEST, _NAME, _CACHED, _STARTED, _COMPLETED, _ERROR = 1, 3, 4, 5, 6, 7
_LOG_VERTEX, _LOG_DATA = 1, 4
_WARNING_SHORT = 3


class BadTraceError(ValueError):
    """The bytes are no protobuf message."""


def statuses(aux: str) -> list[Status]:
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
