"""Ignore files and globs decide as moby and Go decide; malformed ones are errors with a place."""

from __future__ import annotations

import pytest

from builder.core.errors import InputError, InputErrors, Location
from builder.core.globs import clean, compile_glob, has_wildcard, printable
from builder.core.ignore import Ignore, ancestry


def ignore(*lines: str) -> Ignore:
    return Ignore.parse("\n".join(lines), "nova/.dockerignore")


@pytest.mark.parametrize(
    ("pattern", "excluded", "kept"),
    [
        ("a.txt", ["a.txt", "a.txt/x"], ["b/a.txt", "a_txt", "a.txts"]),
        ("/a", ["a", "a/b"], ["b/a"]),
        ("a/", ["a", "a/b/c"], ["ab"]),
        ("./a//b/../c", ["a/c"], ["a/b", "a/b/c"]),
        ("../a", [], ["a", "../b"]),
        ("/", [], ["a"]),
        (".", [], ["a", ".a"]),
        ("*", ["a", ".git", "a/b"], []),
        ("*.md", ["a.md", ".md", "x.md/y"], ["b/a.md", "a.mdx"]),
        ("*/*.md", ["b/a.md"], ["a.md", "c/b/a.md"]),
        ("**/*.md", ["a.md", "b/a.md", "c/b/a.md"], ["amd", "a.md.x"]),
        ("**", ["a", "a/b"], []),
        ("**/tmp", ["tmp", "a/tmp", "a/tmp/x"], ["atmp", "a/btmp", "tmpx"]),
        ("**tmp", ["tmp", "atmp", "a/btmp"], ["tmpx"]),
        ("a/**", ["a/b", "a/b/c"], ["a", "ab"]),
        ("a**", ["a", "ab", "a/b"], ["ba"]),
        ("a/**/z", ["a/z", "a/b/z", "a/b/c/z"], ["az", "a/bz", "z"]),
        ("?", ["a", "é"], ["ab", ""]),
        ("a?c", ["abc"], ["a/c", "ac"]),
        ("[ab]", ["a", "b"], ["c", "[ab]"]),
        ("[^ab]", ["c"], ["a"]),
        ("[a-c]x", ["bx"], ["dx"]),
        ("a[^x]c", ["abc", "a/c"], ["axc"]),
        (r"\*", ["*"], ["a"]),
        (r"a\[b", ["a[b"], ["ab"]),
        ("a+(b)$", ["a+(b)$"], ["aab"]),
        ("a+*.(x)", ["a+1.(x)"], ["aa1.x"]),
        (" a b ", ["a b"], ["a", " a b "]),
        ("\ta\u00a0", ["a"], []),
        ("a\u001f", ["a\u001f"], ["a"]),
        ("a#b", ["a#b"], ["a"]),
        (" #a", ["#a"], ["a"]),
        # Where moby's own regular expressions shine through:
        ("^*", ["a", "b"], []),
        ("^a", ["^a"], ["a"]),
        ("a*|b", ["a", "axx", "x/b", "xb"], ["c"]),
        ("{a,b}*", ["{a,b}c"], ["a"]),
        ("[*]", ["]", "[^]"], ["*", "a", "x]"]),
        (r"\d*", ["1a"], ["da"]),
        ("[[]a", ["[a"], ["a"]),
    ],
)
def test_a_pattern_excludes_what_it_excludes_in_moby(
    pattern: str, excluded: list[str], kept: list[str]
) -> None:
    rules = ignore(pattern)
    assert [path for path in excluded if not rules.excludes(path)] == []
    assert [path for path in kept if rules.excludes(path)] == []


@pytest.mark.parametrize(
    ("lines", "verdicts"),
    [
        (["*.md", "!README.md"], {"a.md": True, "README.md": False}),
        (["!README.md", "*.md"], {"README.md": True}),
        (["*", "!src"], {"src": False, "src/a": False, "src/a/b": False, "b": True}),
        (["*", "! /src/ "], {"src/a": False}),
        (["*", "!src", "src/tmp"], {"src/tmp/x": True, "src/a": False}),
        (["docs", "!docs/a"], {"docs": True, "docs/a": False, "docs/b": True}),
        (["docs", "!**/a"], {"docs/x/a": False, "docs/x/b": True}),
        (["*", "!*"], {"a": False, "a/b": False}),
        (["!!a"], {"a": False}),
        (["*", "!!a"], {"!a": False, "a": True}),
        ([r"\!a"], {"!a": True, "a": False}),
        # A rule that could not change the verdict on a folder is not inherited from it.
        (["**/tmp", "!app"], {"app": False, "app/tmp": True, "app/x": False}),
        (["app/tmp", "!app"], {"app/tmp": True}),
    ],
)
def test_the_last_rule_that_matches_wins(lines: list[str], verdicts: dict[str, bool]) -> None:
    rules = ignore(*lines)
    assert {path: rules.excludes(path) for path in verdicts} == verdicts


def test_comments_blank_lines_bom_and_crlf_are_no_patterns() -> None:
    rules = Ignore.parse(b"\xef\xbb\xbf# comment\r\n\r\n   \r\na\r\n#b\r\n", ".dockerignore")
    assert [(rule.pattern, rule.line) for rule in rules.rules] == [("a", 4)]


def test_a_byte_order_mark_is_taken_off_only_at_the_start() -> None:
    rules = Ignore.parse("a\n\ufeffb", ".dockerignore")
    assert rules.excludes("a")
    assert not rules.excludes("b")


def test_bytes_that_are_no_utf8_match_themselves_and_wildcards() -> None:
    rules = Ignore.parse(b"caf\xe9\n?x\n", ".dockerignore")
    assert rules.excludes("caf\udce9")
    assert not rules.excludes("caf\udcea")
    assert rules.excludes("\udcffx")


def test_the_context_itself_is_never_excluded() -> None:
    assert not ignore("*", "**", ".").excludes("")


@pytest.mark.parametrize(
    ("line", "fact"),
    [
        ("[a", "not closed"),
        ("a[]", "not closed, or is empty"),
        ("[a-]", "stray"),
        ("[-a]", "stray"),
        ("a\\", "ends in a backslash"),
        ("!", 'a "!" needs a pattern'),
        ("! ", 'a "!" needs a pattern'),
        ("!/", 'a "!" needs a pattern'),
        ("[z-a]", "runs backwards"),
        (r"\pL*", "something else in the engine"),
        ("[[:alpha:]]", "named class"),
        ("a*{2}", "repetition"),
        ("x" * 70000, "longer than"),
    ],
)
def test_a_malformed_line_is_an_error_with_its_place(line: str, fact: str) -> None:
    with pytest.raises(InputError, match=fact) as caught:
        ignore("ok", line)
    assert caught.value.where == Location("nova/.dockerignore", 2)


def test_all_malformed_lines_are_reported_together() -> None:
    with pytest.raises(InputErrors) as caught:
        ignore("[", "ok", "!")
    assert [str(error.where) for error in caught.value.errors] == [
        "nova/.dockerignore:1",
        "nova/.dockerignore:3",
    ]


@pytest.mark.parametrize(
    ("lines", "folder", "pruned"),
    [
        (["node_modules"], "node_modules", True),
        (["node_modules"], "src", False),
        (["node_modules"], "node_modules/a", True),
        (["node_modules", "!src"], "node_modules", True),
        (["node_modules", "!node_modules/a"], "node_modules", False),
        (["node_modules", "!node_modules/a"], "node_modules/b", True),
        (["node_modules", "!**/*.md"], "node_modules", False),
        (["node_modules", "!docs/**/*.md"], "node_modules", True),
        (["*", "!a*|b"], "x", False),
    ],
)
def test_a_folder_is_pruned_when_no_exception_can_match_below_it(
    lines: list[str], folder: str, *, pruned: bool
) -> None:
    rules = ignore(*lines)
    assert rules.prunes(folder, rules.all_hits(folder)) is pruned


@pytest.mark.parametrize(
    ("lines", "path", "emptied"),
    [
        (["d", "!d/keep", "d"], "d/keep/x", True),
        (["build", "!build/keep", "**/build"], "build/keep", True),
        (["d", "!d/keep"], "d/keep/x", False),
        (["d", "!d/keep", "d/keep/y"], "d/keep/x", False),
        (["d", "!d/keep", "d"], "d/other", False),
        (["**/tmp", "!app"], "app/tmp", False),
    ],
)
def test_files_that_buildkit_lists_but_does_not_open_are_told(
    lines: list[str], path: str, *, emptied: bool
) -> None:
    rules = ignore(*lines)
    assert rules.empties(path) is emptied
    assert rules.can_empty or not emptied


def test_the_deciding_rule_is_the_last_that_matched() -> None:
    rules = ignore("*", "!a", "a/b")
    rule = rules.decided_by(rules.all_hits("a/b/c"))
    assert rule is not None
    assert (rule.pattern, rule.line, rule.exception) == ("a/b", 3, False)


@pytest.mark.parametrize(
    ("pattern", "matching", "others"),
    [
        ("*.txt", ["a.txt", ".txt"], ["a/b.txt", "a.txt/"]),
        ("**", ["a", ""], ["a/b"]),
        ("a/*/c", ["a/b/c"], ["a/c", "a/b/b/c"]),
        ("?", ["a", "é", "\udcff", "\n"], ["ab", "/", ""]),
        ("[^a]", ["b", "/"], ["a"]),
        ("*[^a]*", ["ab", "b"], ["~/ab"]),
        ("[a-c]*[0-9]", ["b7", "axx9"], ["d1", "b"]),
        ("[z-a]", [], ["a", "z"]),
        ("[^z-a]", ["a"], []),
        (r"[\]\-]", ["]", "-"], ["\\"]),
        (r"\*\a", ["*a"], ["xa"]),
        ("a]~^{}|$", ["a]~^{}|$"], []),
        ("*a*b", ["ab", "xaxb", "aab"], ["ba", "abx"]),
    ],
)
def test_a_glob_matches_as_in_go(pattern: str, matching: list[str], others: list[str]) -> None:
    glob = compile_glob(pattern)
    assert [path for path in matching if not glob.matches(path)] == []
    assert [path for path in others if glob.matches(path)] == []


def test_a_glob_tells_how_deep_it_can_match() -> None:
    assert compile_glob("a/*/[bc]").depth == 2
    assert compile_glob("a[^x]b").depth is None


@pytest.mark.parametrize(
    ("path", "wild"),
    [("a", False), ("*", True), (r"\*", False), (r"\\*", True), ("a]", False), ("a[", True)],
)
def test_a_backslash_takes_the_wildcard_away(path: str, *, wild: bool) -> None:
    assert has_wildcard(path) is wild


@pytest.mark.parametrize(
    ("path", "cleaned"),
    [
        ("", "."),
        ("./a//b/", "a/b"),
        ("a/../..", ".."),
        ("a/../../b", "../b"),
        ("/../a", "/a"),
        ("//a", "/a"),
        ("/", "/"),
    ],
)
def test_clean_is_go_s_clean(path: str, cleaned: str) -> None:
    assert clean(path) == cleaned


def test_messages_show_odd_names_on_one_line() -> None:
    assert printable("a\nb\udcff\u00e9") == "a\\nb\\xff\u00e9"


def test_ancestry_ends_with_the_path_itself() -> None:
    assert ancestry("a/b/c") == ["a", "a/b", "a/b/c"]
    assert ancestry("") == []
