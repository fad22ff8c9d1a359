"""``--set key=value``."""

from __future__ import annotations

from typing import Any

import pytest

from builder.config.toml import apply_overrides, parse_override
from builder.core.errors import ConfigError
from builder.core.settings.readers import FreeText


@pytest.mark.parametrize(
    ("text", "path", "value"),
    [
        ("build.jobs=4", ("build", "jobs"), 4),
        ("a.b = 'x=y' ", ("a", "b"), "x=y"),
        ('groups."x.y".version=3', ("groups", "x.y", "version"), 3),
        ('groups."x=y".version=3', ("groups", "x=y", "version"), 3),
        ("a=[1, 'b']", ("a",), [1, "b"]),
        ("a=true", ("a",), True),
        ("a=20m", ("a",), "20m"),
        ("a=3.0.1", ("a",), "3.0.1"),
        ("a=", ("a",), ""),
        ("a=b=c", ("a",), "b=c"),
        ("a=1\nb=2", ("a",), "1\nb=2"),
        ("a=http://x:1/#y", ("a",), "http://x:1/#y"),
    ],
)
def test_the_value_is_toml_or_else_text(text: str, path: tuple[str, ...], value: object) -> None:
    override = parse_override(text)
    assert override.path == path
    assert isinstance(override.value, FreeText)
    assert override.value.value == value
    assert str(override.location) == f"--set {text}"


def test_the_text_of_a_value_is_kept() -> None:
    assert parse_override("a=3.10").value == FreeText(text="3.10", value=3.1)


@pytest.mark.parametrize(
    "text", ["", "=1", "build.jobs", "a b=1", "a.=1", "#a=1", "a\nb=1", "[a]=1"]
)
def test_what_is_no_key_and_value_is_refused_by_its_text(text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_override(text)
    assert str(caught.value.where) == f"--set {text}"
    assert "--set build.jobs=4" in (caught.value.hint or "")


def test_values_are_laid_over_the_file_and_later_ones_over_earlier_ones() -> None:
    document: dict[str, Any] = {"build": {"jobs": 1, "retries": 2}}
    texts = ["build.jobs=4", "build.jobs=5", "new.table.key=x", "args={a='b'}", "args.c=d"]
    apply_overrides(document, [parse_override(text) for text in texts])
    assert document == {
        "build": {"jobs": FreeText(text="5", value=5), "retries": 2},
        "new": {"table": {"key": FreeText(text="x", value="x")}},
        "args": {"a": "b", "c": FreeText(text="d", value="d")},
    }


def test_a_value_cannot_be_set_below_something_that_is_no_table() -> None:
    with pytest.raises(ConfigError, match=r"--set build\.jobs\.x=1: build\.jobs is no table"):
        apply_overrides({"build": {"jobs": 1}}, [parse_override("build.jobs.x=1")])
