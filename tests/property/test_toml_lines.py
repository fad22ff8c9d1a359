"""Whatever statements a file has, each key is found on the line where its statement starts."""

from __future__ import annotations

from hypothesis import given, strategies as st

from builder.config.toml import line_of
from builder.core.settings.readers import KeyPath

# Statements by their text, "{key}" being a key that nobody else uses.
STATEMENTS = (
    "{key} = 1",
    '{key} = "# no comment"',
    '{key} = """\nkey0 = 1\n[key1]\n"""',
    "{key} = '''\n\\\n'''",
    "{key} = [\n  1, # ]\n\n  2,\n]",
    "{key}.inner.deeper = {{ a = [\n1\n] }}",
    '"{key}" = 1 # a comment',
    "[{key}]",
    '[ "{key}".inner ]',
    "[[{key}]]",
    "# {key} = 1",
    "",
)


@st.composite
def documents(draw: st.DrawFn) -> tuple[str, dict[KeyPath, int]]:
    """A file, and the line of each of its keys."""
    text = ""
    lines: dict[KeyPath, int] = {}
    table: KeyPath = ()
    for number, form in enumerate(draw(st.lists(st.sampled_from(STATEMENTS), max_size=12))):
        key, line = f"key{number + 10}", text.count("\n") + 1
        text += form.format(key=key) + "\n"
        path = (*table, key)
        if form.startswith("[["):
            path = table = (key, 0)
        elif form.startswith("["):
            path = table = (key, "inner") if "inner" in form else (key,)
        if "{key}" in form and not form.startswith("#"):
            lines[path] = line
    return text, lines


@given(documents())
def test_every_key_is_found_where_its_statement_starts(
    document: tuple[str, dict[KeyPath, int]],
) -> None:
    text, lines = document
    assert {path: line_of(text, path) for path in lines} == lines
