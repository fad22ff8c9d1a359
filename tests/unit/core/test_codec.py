from __future__ import annotations

import msgspec
import pytest

from builder.core.codec import MalformedError, convert, decode, encode


class Box(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    sizes: tuple[int, ...] = ()


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b'{"name": "a", "sizes": ["x"]}', "the box has another shape: Expected `int`, got `str`"),
        (b"[]", "the box has another shape: Expected `object`, got `array`"),
        (b'{"sizes": [1]}', "missing required field `name`"),
        (b'{"name": ', "the box is no JSON"),
        (b'{"name": "\xff"}', "the box is no JSON"),
        (b'{"name": "a"} x', "the box is no JSON"),
        (b'{"name": "' + b"a" * 100 + b'"}', "the box is longer than 64 bytes"),
        (b"", "the box is no JSON"),
    ],
)
def test_an_odd_document_is_one_error(data: bytes, message: str) -> None:
    with pytest.raises(MalformedError) as error:
        decode(data, Box, what="the box", most=64)
    assert message in str(error.value)


def test_a_document_that_is_too_deep_is_one_error() -> None:
    data = b'{"name": "a", "other": ' + b"[" * 100_000 + b"]" * 100_000 + b"}"
    with pytest.raises(MalformedError, match="nested too deeply"):
        decode(data, Box, what="the box")


def test_what_an_error_repeats_of_a_document_is_bounded_and_one_line() -> None:
    with pytest.raises(MalformedError) as error:
        convert({"x\n" * 999: "a"}, dict[str, int], what="the box")
    assert len(str(error.value)) < 300
    assert "\n" not in str(error.value)


def test_what_is_written_is_read_again() -> None:
    box = Box(name="ä", sizes=(1, 2))
    assert encode(box) == b'{"name": "\\u00e4", "sizes": [1, 2]}'
    assert decode(encode(box), Box, what="the box") == box


def test_more_than_is_asked_for_is_passed_over() -> None:
    assert decode(b'{"name": "a", "new": {"x": 1}}', Box, what="the box") == Box(name="a")
