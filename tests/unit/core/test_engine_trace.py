"""The protobuf of the Engine API gives the same statuses as the JSON of buildx."""

from __future__ import annotations

import base64

import pytest

from builder.core.engine.statuses import (
    BadTraceError,
    BuildWarning,
    Log,
    Vertex,
    fields,
    trace_statuses,
)


def field(number: int, value: bytes | int) -> bytes:
    """One protobuf field; the tests use none that needs a longer tag or size than two bytes."""
    if isinstance(value, int):
        return bytes([number << 3, value])
    size = len(value)
    head = bytes([size]) if size < 128 else bytes([size & 127 | 128, size >> 7])
    return bytes([number << 3 | 2]) + head + value


def encoded(message: bytes) -> str:
    return base64.b64encode(message).decode()


def test_a_trace_that_an_engine_sent_is_understood() -> None:
    # From Docker Engine 26.1.5, a step that printed "hello" on standard output.
    aux = (
        "GmAKR3NoYTI1NjozNzk3MzMxNjAwMmNmNjA2NWYzMDQ4ZjEyMDU5ZjM4ZDgzMGViNDViYWRmZmEwMGVhMGIyYjdl"
        "ZDY0ODRiZmQwEgsIso2T2AYQlMuFMxgBIgZoZWxsbwo="
    )
    digest = "sha256:37973316002cf6065f3048f12059f38d830eb45badffa00ea0b2b7ed6484bfd0"

    assert trace_statuses(aux) == [Log(vertex=digest, data=b"hello\n")]


def test_a_vertex_has_name_state_and_error() -> None:
    vertex = (
        field(1, b"sha256:1")
        + field(2, b"sha256:0")
        + field(3, "[1/2] RUN é".encode())
        + field(4, 1)
        + field(5, field(1, 5))
        + field(6, field(1, 6))
        + field(7, b"exit code: 7")
    )

    assert trace_statuses(encoded(field(1, vertex))) == [
        Vertex(
            digest="sha256:1",
            name="[1/2] RUN é",
            started=True,
            completed=True,
            cached=True,
            error="exit code: 7",
        )
    ]


def test_a_vertex_that_has_not_started_says_so() -> None:
    assert trace_statuses(encoded(field(1, field(1, b"a") + field(3, b"b")))) == [
        Vertex(digest="a", name="b")
    ]


def test_a_warning_gives_its_short_text() -> None:
    warning = field(1, b"sha256:1") + field(2, 1) + field(3, b"odd")

    assert trace_statuses(encoded(field(4, warning))) == [BuildWarning(text="odd")]


def test_progress_of_transfers_is_passed_over() -> None:
    assert trace_statuses(encoded(field(2, field(1, b"layer")))) == []


def test_numbers_of_fixed_size_are_skipped_whole() -> None:
    message = b"\x09" + bytes(8) + b"\x15" + bytes(4) + field(3, b"x")

    assert list(fields(message)) == [(1, bytes(8)), (2, bytes(4)), (3, b"x")]


@pytest.mark.parametrize(
    "aux",
    [
        "%%%",
        encoded(b"\x0a\x05ab"),
        encoded(b"\x0a"),
        encoded(b"\x0b"),
        encoded(b"\xff\xff"),
    ],
)
def test_what_is_no_message_is_an_error(aux: str) -> None:
    with pytest.raises(BadTraceError):
        trace_statuses(aux)
