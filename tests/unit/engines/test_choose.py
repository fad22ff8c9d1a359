"""The first engine that can makes the image; a refusal says what, and on which line."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from builder.core.dockerfile.parse import parse
from builder.core.engine.place import lacking
from builder.core.errors import BuildError, EngineUnavailableError
from builder.engines import BuildRequest, Engine
from builder.engines.choose import Engines, make
from builder.engines.posted import awkward
from tests.support.engines import FakeEngine, Outputs


def request(
    folder: Path, text: str = "FROM debian\n", features: frozenset[str] = frozenset()
) -> BuildRequest:
    dockerfile = folder / "Dockerfile"
    dockerfile.write_text(text, encoding="utf-8")
    return BuildRequest(
        image="app",
        parsed=parse(text.encode(), "app/Dockerfile"),
        context=folder,
        dockerfile=dockerfile,
        dockerfile_label="app/Dockerfile",
        tags=(),
        features=features,
    )


FIRST = FakeEngine("first", refuses={"app": "line 3 needs RUN --mount"})
SECOND = FakeEngine("second")
THIRD = FakeEngine("third")


def made_by(
    asked: BuildRequest,
    engines: Iterable[Engine],
    forced: str | None = None,
    sink: Outputs | None = None,
) -> str:
    return make(asked, engines, sink or Outputs(), threading.Event(), forced=forced).engine


def test_the_first_that_does_not_refuse_is_taken_and_the_refusals_are_told(tmp_path: Path) -> None:
    told = Outputs()
    assert made_by(request(tmp_path), [FIRST, SECOND, THIRD], sink=told) == "second"
    assert told.lines[0] == "not by first: line 3 needs RUN --mount"


def test_the_one_that_is_asked_for_is_taken(tmp_path: Path) -> None:
    assert made_by(request(tmp_path), [FIRST, SECOND, THIRD], "third") == "third"


def test_the_one_that_is_asked_for_may_refuse_and_says_why(tmp_path: Path) -> None:
    with pytest.raises(BuildError) as caught:
        made_by(request(tmp_path), [FIRST, SECOND], "first")
    assert str(caught.value).startswith(
        "app/Dockerfile: the engine first cannot make app: line 3 needs RUN --mount"
    )


def test_where_all_refuse_each_reason_is_told(tmp_path: Path) -> None:
    other = FakeEngine("other", refuses={"app": "it is too old"})
    with pytest.raises(BuildError) as caught:
        made_by(request(tmp_path), [FIRST, other])
    assert caught.value.message == (
        "no engine can make app:\n  first: line 3 needs RUN --mount\n  other: it is too old"
    )


def test_an_unknown_name_is_an_error_with_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(EngineUnavailableError) as caught:
        made_by(request(tmp_path), [FIRST, SECOND], "secund")
    assert caught.value.hint == 'did you mean "second"?'


def test_without_any_engine_nothing_can_be_made(tmp_path: Path) -> None:
    with pytest.raises(EngineUnavailableError):
        made_by(request(tmp_path), [])


@pytest.mark.parametrize(
    ("in_process", "forced", "engine", "looked_for"),
    [
        (True, None, "own", 0),
        (False, None, "second", 1),
        (False, "own", "own", 1),
        (True, "second", "second", 1),
    ],
)
def test_what_needs_no_engine_is_made_in_process_and_no_engine_is_looked_for(
    tmp_path: Path, *, in_process: bool, forced: str | None, engine: str, looked_for: int
) -> None:
    looked: list[str] = []

    def others() -> list[Engine]:
        looked.append("others")
        return [SECOND]

    maker = Engines(FakeEngine("own"), others, forced)
    asked = replace(request(tmp_path), in_process=in_process)
    for _ in range(2):
        assert maker.make(asked, Outputs(), threading.Event()).engine == engine
    assert len(looked) == looked_for


def test_where_it_cannot_be_made_in_process_an_engine_makes_it(tmp_path: Path) -> None:
    maker = Engines(FIRST, lambda: [SECOND], None)
    asked = replace(request(tmp_path), in_process=True)
    assert maker.make(asked, Outputs(), threading.Event()).engine == "second"


HEREDOC = "FROM debian AS unused\nRUN <<EOF\ntrue\nEOF\nFROM debian\nRUN --mount=type=cache true\n"


def test_a_feature_that_is_needed_is_told_with_its_line(tmp_path: Path) -> None:
    asked = request(tmp_path, HEREDOC, features=frozenset({"mount"}))

    assert (
        lacking(asked, ["heredoc", "mount"]) == "line 6 needs RUN --mount, which this engine lacks"
    )


def test_an_engine_that_builds_all_stages_refuses_for_those_not_needed(tmp_path: Path) -> None:
    asked = request(tmp_path, HEREDOC, features=frozenset({"mount"}))

    assert str(lacking(asked, ["heredoc"], every_stage=True)).startswith("line 2 needs here-doc")
    assert lacking(asked, ["heredoc"]) is None


def test_a_feature_without_a_line_is_told_as_well(tmp_path: Path) -> None:
    asked = request(tmp_path, features=frozenset({"ignore-file"}))

    assert str(lacking(asked, ["ignore-file"])).startswith("it needs a <Dockerfile>.dockerignore")


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({}, None),
        ({"platform": "linux/amd64"}, None),
        ({"platform": "linux/amd64,linux/arm64"}, "one platform at a time"),
        ({"contexts": {"debian": "docker-image://r/debian:1"}}, None),
        ({"contexts": {"files": "/srv/files"}}, 'cannot take "files" from /srv/files'),
        ({"context": Path("/nonexistent")}, "outside its build context"),
    ],
)
def test_what_post_build_cannot_do_is_refused(
    tmp_path: Path, changes: dict[str, Any], reason: str | None
) -> None:
    found = awkward(replace(request(tmp_path), **changes))
    assert (found is None) if reason is None else (reason in str(found))
