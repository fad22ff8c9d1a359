"""The line of a key, in every way that TOML has of giving one."""

from __future__ import annotations

from textwrap import dedent

import pytest
import tomli

from builder.config.toml import holds, line_of
from builder.core.settings.readers import KeyPath, dotted
from builder.core.text import quoted

DOCUMENT = dedent(
    '''\
    # a comment

    top = 1
    [table]
    plain = "x"  # line 5
    dotted.inner.deep = 1
    inline = { one = 1, two = { three = 3 } }

    text = """
    decoy = 1
    [table.decoy]
    """
    array = [
        "a",
        # a comment inside
        { decoy = 1 },

        "b",
    ]
    after = 1
    "quoted key" = 1
    'a.b' = 1
    [other."x.y".z]
    key = 1
    [[list]]
    name = "first"
    [[list]]
    name = "second"
    [[list.below]]
    name = "third"
    literal = \'\'\'
    after = 2
    \'\'\'
    [other]
    late = 1
    ["table".added]
    '''
)


@pytest.mark.parametrize(
    ("path", "line"),
    [
        (("top",), 3),
        (("table",), 4),
        (("table", "plain"), 5),
        (("table", "dotted"), 6),
        (("table", "dotted", "inner", "deep"), 6),
        (("table", "inline", "two", "three"), 7),
        (("table", "text"), 9),
        (("table", "array"), 13),
        (("table", "array", 2), 13),
        (("table", "array", 1, "decoy"), 13),
        (("table", "after"), 20),
        (("table", "quoted key"), 21),
        (("table", "a.b"), 22),
        (("other",), 23),
        (("other", "x.y"), 23),
        (("other", "x.y", "z", "key"), 24),
        (("list",), 25),
        (("list", 0, "name"), 26),
        (("list", 1), 27),
        (("list", 1, "name"), 28),
        (("list", 1, "below", 0), 29),
        (("list", 1, "below", 0, "literal"), 31),
        (("other", "late"), 35),
        (("table", "added"), 36),
    ],
)
def test_a_key_is_found_where_its_statement_starts(path: KeyPath, line: int) -> None:
    assert line_of(DOCUMENT, path) == line


@pytest.mark.parametrize("ending", ["\n", "\r\n"])
def test_line_endings_do_not_matter(ending: str) -> None:
    text = DOCUMENT.replace("\n", ending)
    tomli.loads(text)
    assert line_of(text, ("table", "after")) == 20
    assert line_of(text.rstrip(), ("table", "added")) == 36


def test_only_newlines_count_as_lines() -> None:
    assert line_of('a = "\u2028\u0085"\nb = 1', ("b",)) == 2


@pytest.mark.parametrize(
    ("path", "line"),
    [
        (("table", "missing"), 4),
        (("table", "plain", "missing"), 5),
        (("list", 7, "name"), 25),
        (("list", "name"), 25),
        (("missing", "x"), None),
        ((), None),
    ],
)
def test_a_missing_key_is_where_the_nearest_thing_around_it_is(
    path: KeyPath, line: int | None
) -> None:
    assert line_of(DOCUMENT, path) == line
    assert not holds(DOCUMENT, path) or path == ()


def test_a_long_list_is_stepped_over() -> None:
    lines = "\n".join(f'  "package-{number}",' for number in range(300))
    text = f"before = 1\nlong = [\n{lines}\n]\nafter = 1\n"
    assert line_of(text, ("long",)) == 2
    assert line_of(text, ("after",)) == 304


@pytest.mark.parametrize(
    ("path", "text"),
    [
        (("groups", "x.y", "also", 0), 'groups."x.y".also[0]'),
        (("a-b_1",), "a-b_1"),
        (("",), '""'),
        (("é",), '"é"'),
    ],
)
def test_a_path_is_shown_as_toml_writes_it(path: KeyPath, text: str) -> None:
    assert dotted(path) == text


@pytest.mark.parametrize("text", ["", 'a"b\\c', "line\nfeed\ttab\x7f", "ü\u2028"])
def test_quoted_text_reads_back(text: str) -> None:
    assert tomli.loads(f"value = {quoted(text)}") == {"value": text}
    assert "\n" not in quoted(text)
