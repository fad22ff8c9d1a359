"""The raw JSON of buildx is understood in every version's form and in every cut."""

from __future__ import annotations

import base64
import json

import pytest

from builder.core.engine.statuses import (
    BuildWarning,
    Log,
    PlainText,
    RawJsonDecoder,
    Status,
    Vertex,
)

ONE = {
    "vertexes": [
        {"digest": "sha256:1", "name": "[1/2] RUN echo hé && x", "started": "2026-01-01T00:00:00Z"}
    ]
}
TWO = {"logs": [{"vertex": "sha256:1", "data": base64.b64encode("grüße\n".encode()).decode()}]}
THREE = {
    "vertexes": [
        {
            "digest": "sha256:1",
            "name": "[1/2] RUN x",
            "started": "2026-01-01T00:00:00Z",
            "completed": "2026-01-01T00:00:01Z",
            "cached": True,
            "error": "exit code: 7",
        }
    ],
    "warnings": [{"vertex": "sha256:1", "short": base64.b64encode(b"odd").decode()}],
}
STATUSES: list[Status] = [
    Vertex(digest="sha256:1", name="[1/2] RUN echo hé && x", started=True),
    PlainText(text='time="2026" level=warning msg="{not json}"'),
    Log(vertex="sha256:1", data="grüße\n".encode()),
    Vertex(
        digest="sha256:1",
        name="[1/2] RUN x",
        started=True,
        completed=True,
        cached=True,
        error="exit code: 7",
    ),
    BuildWarning(text="odd"),
    PlainText(text="Dockerfile:3"),
    PlainText(text="   3 | >>> RUN x"),
    PlainText(text="ERROR: failed to solve"),
]


def transcript(indent: int | None) -> bytes:
    """What buildx prints: over many lines up to 0.14, one object a line since 0.15."""

    def text(value: object) -> str:
        return json.dumps(value, indent=indent, ensure_ascii=False) + "\n"

    return (
        text(ONE)
        + 'time="2026" level=warning msg="{not json}"\n'
        + text(TWO)
        + text(THREE)
        + "Dockerfile:3\n   3 | >>> RUN x\nERROR: failed to solve"
    ).encode()


@pytest.mark.parametrize("indent", [None, 2])
def test_both_forms_give_the_same_statuses(indent: int | None) -> None:
    decoder = RawJsonDecoder()

    assert decoder.feed(transcript(indent)) + decoder.end() == STATUSES


@pytest.mark.parametrize("indent", [None, 2])
def test_a_cut_at_any_byte_changes_nothing(indent: int | None) -> None:
    data = transcript(indent)
    for cut in range(len(data)):
        decoder = RawJsonDecoder()
        found = decoder.feed(data[:cut]) + decoder.feed(data[cut:]) + decoder.end()
        assert found == STATUSES, cut


def test_bytes_that_come_one_by_one_give_each_status_as_soon_as_it_is_complete() -> None:
    decoder = RawJsonDecoder()
    data = json.dumps(ONE, indent=2).encode() + b"\n"
    early = [status for byte in data[:-1] for status in decoder.feed(bytes([byte]))]

    assert early == []
    assert decoder.feed(data[-1:]) == STATUSES[:1]


def test_text_that_only_begins_like_an_object_is_handed_on_as_text() -> None:
    decoder = RawJsonDecoder()
    found = decoder.feed(b"{\nhello\n{ not json }\n") + decoder.end()

    assert found == [PlainText(text=text) for text in ("{", "hello", "{ not json }")]


def test_an_object_that_never_ends_is_handed_on_as_text() -> None:
    decoder = RawJsonDecoder()
    found = decoder.feed(b'{\n  "vertexes": [\n') + decoder.end()

    assert found == [PlainText(text="{"), PlainText(text='  "vertexes": [')]


def test_bytes_that_are_no_utf8_do_not_stop_the_decoder() -> None:
    decoder = RawJsonDecoder()

    assert decoder.feed(b"ERROR: \xff\n") == [PlainText(text="ERROR: \ufffd")]


def test_an_object_without_anything_to_tell_gives_nothing() -> None:
    assert RawJsonDecoder().feed(b'{"statuses":[{"id":"x"}],"vertexes":null}\n') == []
