"""Laws that hold for every ignore file, whatever its patterns."""

from __future__ import annotations

import re

from hypothesis import given, strategies as st

from builder.core.errors import InputError
from builder.core.globs import compile_glob
from builder.core.ignore import Ignore, ancestry

NAMES = st.sampled_from(["a", "b", "ab", "abc", "a.txt", "b.md", "tmp", ".git", "é", "a b"])
PATHS = st.lists(NAMES, min_size=1, max_size=4).map("/".join)
PARTS = st.sampled_from(["a", "b", "ab", "*", "**", "*.txt", "a*", "?", "[ab]", "[^a]*", "tmp"])
PATTERNS = st.lists(PARTS, min_size=1, max_size=3).map("/".join)
LINES = st.builds(str.__add__, st.sampled_from(["", "", "!"]), PATTERNS)
FILES = st.lists(LINES, max_size=6)
TREES = st.sets(PATHS, max_size=30)


def parse(*lines: str) -> Ignore:
    return Ignore.parse("\n".join(lines), ".dockerignore")


def kept_by_walk(rules: Ignore, tree: set[str], folder: str, hits: int) -> set[str]:
    """What a walk keeps that looks into no pruned folder and passes hits on."""
    kept: set[str] = set()
    start = f"{folder}/" if folder else ""
    names = {path[len(start) :].split("/")[0] for path in tree if path.startswith(start)}
    for path in (start + name for name in names):
        own = rules.hits(path, hits)
        if not rules.excluded(own):
            kept.add(path)
        if not rules.prunes(path, own):
            kept |= kept_by_walk(rules, tree, path, own)
    return kept


@given(FILES, TREES)
def test_a_pruned_walk_keeps_exactly_what_is_not_excluded(lines: list[str], tree: set[str]) -> None:
    rules = parse(*lines)
    everything = {folder for path in tree for folder in ancestry(path)}
    expected = {path for path in everything if not rules.excludes(path)}
    assert kept_by_walk(rules, everything, "", 0) == expected


@given(FILES, PATTERNS, PATHS)
def test_a_pattern_followed_by_its_exception_lets_its_matches_in(
    lines: list[str], pattern: str, path: str
) -> None:
    if parse(pattern).excludes(path):
        assert not parse(*lines, pattern, f"!{pattern}").excludes(path)


@given(FILES, PATTERNS, PATHS)
def test_a_last_pattern_excludes_what_it_matches_itself(
    lines: list[str], pattern: str, path: str
) -> None:
    if parse(pattern).rules[0].match(path):
        assert parse(*lines, pattern).excludes(path)


@given(FILES, PATHS, st.sampled_from(["# comment", "", "   ", "\t"]))
def test_comments_and_blank_lines_change_nothing(lines: list[str], path: str, noise: str) -> None:
    noisy = [noise, *(part for line in lines for part in (f"  {line}\r", noise))]
    assert parse(*noisy).excludes(path) == parse(*lines).excludes(path)


@given(FILES, PATHS)
def test_without_exceptions_what_is_below_an_excluded_folder_is_excluded(
    lines: list[str], path: str
) -> None:
    rules = parse(*(line.removeprefix("!") for line in lines))
    verdicts = [rules.excludes(part) for part in ancestry(path)]
    assert verdicts == sorted(verdicts)
    assert not rules.empties(path)


@given(st.text())
def test_any_text_is_parsed_or_refused_with_a_line(text: str) -> None:
    try:
        rules = Ignore.parse(text, ".dockerignore")
    except InputError as error:
        assert re.match(r"\.dockerignore:\d+: ", str(error))  # noqa: PT017 - both ways are right
    else:
        rules.excludes("a/b")


@given(PATHS)
def test_a_glob_of_a_plain_path_matches_just_that_path(path: str) -> None:
    glob = compile_glob(path)
    assert glob.matches(path)
    assert not glob.matches(f"{path}x")
    assert not glob.matches(f"x/{path}")
