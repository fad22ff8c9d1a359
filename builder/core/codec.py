"""JSON documents: bytes to checked values of one shape, and values to the bytes that are kept.

What comes from outside is bounded before it is read, and whatever is odd about it is one error
with one line, which the caller puts into words of its own.
"""

from __future__ import annotations

import json
import threading
from typing import Any, TypeVar

import msgspec

T = TypeVar("T")

# A release of a thousand images is 2 MiB; nobody has a reason to send more than this.
MOST_BYTES = 16 << 20


_decoders: dict[object, msgspec.json.Decoder[Any]] = {}
_preparing = threading.Lock()


class MalformedError(ValueError):
    """A document that is not what it should be; the message is one line that says what is wrong."""


def decode(data: bytes | str, shape: type[T], *, what: str, most: int = MOST_BYTES) -> T:
    """A value of ``shape`` from JSON; ``what`` names the document in the error.

    The depth is bounded by the decoder itself, which gives up where Python would.

    Raises:
        MalformedError: it is longer than ``most`` bytes, no JSON, or of another shape.

    """
    if len(data) > most:
        raise MalformedError(f"{what} is longer than {most} bytes")
    try:
        value: T = _decoder(shape).decode(data)
    except msgspec.ValidationError as error:
        raise MalformedError(f"{what} has another shape: {_bounded(error)}") from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise MalformedError(f"{what} is no JSON: {_bounded(error)}") from error
    except RecursionError as error:
        raise MalformedError(f"{what} is nested too deeply") from error
    return value


def convert(value: object, shape: type[T], *, what: str) -> T:
    """A value of ``shape`` from what JSON, TOML or another reader has made already.

    Raises:
        MalformedError: it is of another shape.

    """
    _decoder(shape)
    try:
        return msgspec.convert(value, type=shape)
    except msgspec.ValidationError as error:
        raise MalformedError(f"{what} has another shape: {_bounded(error)}") from error


def _decoder(shape: type[Any]) -> msgspec.json.Decoder[Any]:
    """The decoder of a shape, which is prepared by one thread at a time.

    msgspec 0.22 notes on a class what it knows of its fields before it knows all of them; a second
    thread that reads the same class for the first time at that moment ends the process.
    """
    if shape not in _decoders:
        with _preparing:
            _decoders[shape] = msgspec.json.Decoder(shape)
    return _decoders[shape]


def plain(value: object) -> Any:
    """A value as the dicts, lists, texts and numbers that JSON knows."""
    return msgspec.to_builtins(value, str_keys=True)


def encode(value: object, *, indent: int | None = None, sort_keys: bool = False) -> bytes:
    """JSON as the standard library writes it: ASCII only, a blank after "," and ":"."""
    return json.dumps(plain(value), indent=indent, sort_keys=sort_keys).encode()


def _bounded(error: Exception) -> str:
    text = " ".join(str(error).split())
    return text if len(text) <= _MOST_WORDS else f"{text[:_MOST_WORDS]}…"


_MOST_WORDS = 200
