"""Recorded durations are kept, smoothed, and never stand in the way of a run."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from msgspec.structs import replace

from builder.core.events import ImageResult, ImageStatus, Summary
from builder.system.files import expected_durations, load_durations, record_durations
from tests.support.story import SUMMARY


def summary_of(*results: ImageResult) -> Summary:
    return replace(SUMMARY, images={result.image: result for result in results})


def built(image: str, seconds: float) -> ImageResult:
    return ImageResult(image=image, action="build", status=ImageStatus.OK, seconds=seconds)


def test_a_build_is_recorded_and_later_ones_are_smoothed(tmp_path: Path) -> None:
    path = tmp_path / "state" / "durations.json"
    record_durations(path, summary_of(built("nova", 40.0)))
    assert load_durations(path) == {"nova": 40.0}
    record_durations(path, summary_of(built("nova", 60.0), built("base", 9.0)))
    assert load_durations(path) == {"nova": 50.0, "base": 9.0}


@pytest.mark.parametrize(
    "result",
    [
        replace(built("x", 3.0), status=ImageStatus.FAILED),
        replace(built("x", 3.0), status=ImageStatus.INTERRUPTED),
        replace(built("x", 3.0), action="reuse"),
        replace(built("x", 3.0), cached=True),
        built("x", 0.0),
    ],
)
def test_what_does_not_say_how_long_a_build_takes_is_not_recorded(
    tmp_path: Path, result: ImageResult
) -> None:
    path = tmp_path / "durations.json"
    record_durations(path, summary_of(result))
    assert load_durations(path) == {}


@pytest.mark.parametrize(
    "text", ["", "{", "[1]", '"x"', "\udcff", "[" * 100_000, '{"nova": NaN, "x": "4", "y": -1}']
)
def test_a_broken_file_counts_as_empty_and_is_replaced(tmp_path: Path, text: str) -> None:
    path = tmp_path / "durations.json"
    path.write_bytes(text.encode(errors="surrogateescape"))
    assert load_durations(path) == {}
    record_durations(path, summary_of(built("nova", 40.0)))
    assert load_durations(path) == {"nova": 40.0}


def test_good_entries_beside_bad_ones_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "durations.json"
    path.write_text(json.dumps({"nova": 4, "flag": True, "none": None, "base": 2.5}))
    assert load_durations(path) == {"nova": 4.0, "base": 2.5}


def test_a_missing_file_is_empty(tmp_path: Path) -> None:
    assert load_durations(tmp_path / "none.json") == {}


def test_a_file_that_cannot_be_written_does_not_fail_the_run(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    record_durations(tmp_path / "file" / "durations.json", summary_of(built("nova", 40.0)))
    assert load_durations(tmp_path / "file" / "durations.json") == {}


def test_an_image_that_was_never_built_is_taken_for_an_average_one() -> None:
    known = {"a": 10.0, "b": 20.0, "c": 90.0}
    assert expected_durations(known, ["a", "new"]) == {"a": 10.0, "new": 20.0}


def test_where_nothing_is_known_nothing_is_expected() -> None:
    assert expected_durations({}, ["x", "y"]) == {}
