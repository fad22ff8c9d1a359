"""Decodes ``buildx --progress=rawjson`` as it comes, in whatever pieces it comes.

buildx up to 0.14 prints each object over many indented lines, later ones print one line each, and
both print plain text (log lines, ``ERROR:``) between the objects. So an object starts on a line
that begins with "{", and it ends where the JSON ends.
"""

from __future__ import annotations

import base64
import binascii
import codecs
import json
from collections.abc import Iterator, Mapping
from typing import Any

from builder.engines.solve import BuildWarning, Log, PlainText, Status, Vertex

# No status comes near this; text that only looks like JSON must not be hoarded for ever.
_LONGEST_OBJECT = 16 * 1024 * 1024


class Decoder:
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
            yield from _statuses(decoded)
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
                yield from _statuses(decoded)

    def _give_up(self) -> list[Status]:
        lines, self._object = self._object, []
        return [PlainText(text=line) for line in lines if line]


def _decoded(text: str) -> Mapping[str, Any] | None:
    try:
        decoded = json.loads(text)
    except ValueError:
        return None
    return decoded if isinstance(decoded, dict) else None


def _statuses(decoded: Mapping[str, Any]) -> Iterator[Status]:
    for vertex in decoded.get("vertexes") or ():
        yield Vertex(
            digest=vertex.get("digest", ""),
            name=vertex.get("name", ""),
            started="started" in vertex,
            completed="completed" in vertex,
            cached=bool(vertex.get("cached")),
            error=vertex.get("error", ""),
        )
    for log in decoded.get("logs") or ():
        yield Log(vertex=log.get("vertex", ""), data=_bytes(log.get("data") or ""))
    for warning in decoded.get("warnings") or ():
        yield BuildWarning(text=_bytes(warning.get("short") or "").decode("utf-8", "replace"))


def _bytes(text: str) -> bytes:
    """Go writes ``[]byte`` as base64."""
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error:
        return text.encode()
