from __future__ import annotations

import subprocess
import sys

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


# Of a fresh process, for it would end with it.
AT_ONCE = """\
import sys, threading
import msgspec
from builder.core.codec import convert, decode

sys.setswitchinterval(1e-6)
fields = [(f"field{number}", dict[str, int] | None, None) for number in range(40)]
for number in range(150):
    inner = msgspec.defstruct(f"Inner{number}", fields)
    shape = msgspec.defstruct(f"Shape{number}", [*fields, ("inner", inner | None, None)])
    start = threading.Barrier(8)

    def read(shape=shape, start=start):
        start.wait()
        decode(b'{"field1": {"a": 1}, "inner": {"field2": {"b": 2}}}', shape, what="it")
        convert({"inner": {}}, shape, what="it")

    threads = [threading.Thread(target=read) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
"""


def test_threads_may_read_a_shape_for_the_first_time_at_once() -> None:
    done = subprocess.run([sys.executable, "-c", AT_ONCE], check=False, capture_output=True)
    assert (done.returncode, done.stderr) == (0, b"")
