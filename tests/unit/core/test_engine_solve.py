"""What BuildKit says is turned into output, and what a failure needs is remembered."""

from __future__ import annotations

import pytest

from builder.core.engine.statuses import (
    BuildWarning,
    Log,
    PlainText,
    Progress,
    Vertex,
    cleaned,
    command_of,
)
from tests.support.engines import Outputs


def step(digest: str, name: str, *, cached: bool = False, error: str = "") -> Vertex:
    return Vertex(
        digest=digest, name=name, started=True, completed=True, cached=cached, error=error
    )


@pytest.mark.parametrize(
    ("name", "command"),
    [
        ("[3/5] RUN make", "RUN make"),
        ("[builder 3/5] RUN make", "RUN make"),
        ("[linux/amd64 builder 3/5] COPY a b", "COPY a b"),
        ("[1/2] RUN <<E (echo 1)", "RUN <<E (echo 1)"),
        ("[internal] load metadata for docker.io/library/debian:12", None),
        ("[context debian:12] load metadata for x", None),
        ("exporting to image", None),
        ("copy /context /", None),
    ],
)
def test_the_instruction_is_read_from_the_name_of_a_step(name: str, command: str | None) -> None:
    assert command_of(name) == command


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        ("plain", "plain"),
        ("\x1b[91mred\x1b[0m", "red"),
        ("10%\r50%\r100%", "100%"),
    ],
)
def test_a_line_is_kept_as_it_looks_in_the_end(line: str, shown: str) -> None:
    assert cleaned(line) == shown


def test_a_step_is_announced_once_and_its_output_comes_in_lines() -> None:
    outputs = Outputs()
    progress = Progress(outputs)
    progress.follow(Vertex(digest="a", name="[1/1] RUN x  &&   y"))
    progress.follow(Vertex(digest="a", name="[1/1] RUN x  &&   y", started=True))
    progress.follow(Log(vertex="a", data=b"one\ntw"))
    progress.follow(Log(vertex="a", data="o\nhé".encode()[:-1]))
    progress.follow(Log(vertex="a", data="é".encode()[-1:]))
    progress.follow(step("a", "[1/1] RUN x  &&   y"))

    assert outputs.steps == ["[1/1] RUN x && y"]
    assert outputs.lines == ["one", "two", "hé"]


def test_output_of_steps_that_run_together_is_not_mixed_within_a_line() -> None:
    outputs = Outputs()
    progress = Progress(outputs)
    progress.follow(Log(vertex="a", data=b"from "))
    progress.follow(Log(vertex="b", data=b"b\n"))
    progress.follow(Log(vertex="a", data=b"a\n"))

    assert outputs.lines == ["b", "from a"]


def test_the_last_line_is_given_up_at_the_end_even_without_a_newline() -> None:
    outputs = Outputs()
    progress = Progress(outputs)
    progress.follow(Log(vertex="a", data=b"last"))
    progress.end()

    assert outputs.lines == ["last"]


def test_a_build_is_cached_if_every_instruction_was() -> None:
    progress = Progress(Outputs())
    progress.follow(step("i", "[internal] load metadata"))
    progress.follow(step("f", "[1/3] FROM debian"))
    progress.follow(step("a", "[2/3] RUN a", cached=True))
    progress.follow(step("a", "[2/3] RUN a"))
    progress.follow(step("e", "exporting to image"))
    assert progress.cached

    progress.follow(step("b", "[3/3] RUN b"))
    assert not progress.cached


def test_the_failed_step_is_not_one_that_was_only_called_off() -> None:
    progress = Progress(Outputs())
    progress.follow(step("a", "[1/2] RUN a", error="exit code: 137: context canceled"))
    progress.follow(step("b", "[2/2] RUN b", error="exit code: 7"))

    assert progress.failed == step("b", "[2/2] RUN b", error="exit code: 7")


def test_the_tail_holds_the_last_twenty_lines_of_the_step_alone() -> None:
    progress = Progress(Outputs())
    failed = step("a", "[1/1] RUN a", error="exit code: 1")
    progress.follow(Log(vertex="b", data=b"other\n"))
    progress.follow(Log(vertex="a", data="".join(f"{n}\n" for n in range(30)).encode()))
    progress.follow(failed)

    assert progress.tail(failed) == tuple(str(n) for n in range(10, 30))


def test_warnings_are_shown_once_and_plain_text_is_kept() -> None:
    outputs = Outputs()
    progress = Progress(outputs)
    progress.follow(BuildWarning(text="odd"))
    progress.follow(BuildWarning(text="odd"))
    progress.follow(PlainText(text="ERROR: a"))
    progress.follow(PlainText(text="b"))

    assert outputs.lines == ["warning: odd", "ERROR: a", "b"]
    assert progress.plain == "ERROR: a\nb"
