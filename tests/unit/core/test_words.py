"""Expansion of variables, quotes and escapes as BuildKit's shell lexer does it."""

from __future__ import annotations

import pytest

from builder.core.dockerfile.words import (
    WordError,
    expand,
    expand_document,
    expand_words,
)

ENV = {"X": "one", "EMPTY": "", "PATH": "/usr/bin:/bin", "FILE": "a.b.tar.gz", "WORDS": " p  q "}

PLAIN = [
    ("", ""),
    ("text", "text"),
    ("a b  c", "a b  c"),
    ("<", "<"),
    ("a<<b", "a<<b"),
    ("{}/}", "{}/}"),
    ("$", "$"),
    ("$ a", "$ a"),
    ("a$", "a$"),
    ("$.", "$."),
    ("100%", "100%"),
    ("é$X", "éone"),
]
NAMES = [
    ("$X", "one"),
    ("${X}", "one"),
    ("$X$X", "oneone"),
    ("$X.y", "one.y"),
    ("$Xy", ""),
    ("${X}y", "oney"),
    ("$NOTHING", ""),
    ("$1", ""),
    ("$12a", "a"),
    ("$$", ""),
    ("$@", ""),
    ("a-$X/b", "a-one/b"),
    ("$_x", ""),
]
QUOTES = [
    ('"a b"', "a b"),
    ("'a b'", "a b"),
    ('""', ""),
    ("''", ""),
    ('"$X"', "one"),
    ("'$X'", "$X"),
    ('a"b"c', "abc"),
    ('"it\'s"', "it's"),
    ("'say \"a\"'", 'say "a"'),
    ('"a""b"', "ab"),
]
ESCAPES = [
    (r"\$X", "$X"),
    (r"a\ b", "a b"),
    (r"\\", "\\"),
    (r"\n", "n"),
    (r"a\"b", 'a"b'),
    (r'"a\"b"', 'a"b'),
    (r'"\$X"', "$X"),
    (r'"\\"', "\\"),
    (r'"a\nb"', r"a\nb"),
    (r"'a\nb'", r"a\nb"),
    ("a\\", "a"),
]
OPERATORS = [
    ("${X:-d}", "one"),
    ("${EMPTY:-d}", "d"),
    ("${NO:-d}", "d"),
    ("${NO:-}", ""),
    ("${X-d}", "one"),
    ("${EMPTY-d}", ""),
    ("${NO-d}", "d"),
    ("${X:+a}", "a"),
    ("${EMPTY:+a}", ""),
    ("${NO:+a}", ""),
    ("${X+a}", "a"),
    ("${EMPTY+a}", "a"),
    ("${NO+a}", ""),
    ("${X:?m}", "one"),
    ("${X?m}", "one"),
    ("${EMPTY?m}", ""),
    ("${NO:-${X}}", "one"),
    ("${NO:-${NEITHER:-$X}}", "one"),
    ('${NO:-"a b"}', "a b"),
    ("${NO:-'}'}", "}"),
    (r"${NO:-\}}", "}"),
    ("x${NO:-a b}y", "xa by"),
]
PATTERNS = [
    ("${FILE#*.}", "b.tar.gz"),
    ("${FILE##*.}", "gz"),
    ("${FILE%.*}", "a.b.tar"),
    ("${FILE%%.*}", "a"),
    ("${FILE#?}", ".b.tar.gz"),
    ("${FILE%??}", "a.b.tar."),
    ("${FILE#x}", "a.b.tar.gz"),
    ("${FILE##}", "a.b.tar.gz"),
    ("${FILE%.gz}", "a.b.tar"),
    ("${FILE#a.}", "b.tar.gz"),
    ("${FILE#a?b}", ".tar.gz"),
    ("${PATH%:*}", "/usr/bin"),
    (r"${PATH##\/usr}", "/bin:/bin"),
    ("${NO#x}", ""),
    ("${FILE/a/X}", "X.b.tar.gz"),
    ("${FILE//a/X}", "X.b.tXr.gz"),
    ("${FILE/./}", "ab.tar.gz"),
    ("${FILE//./-}", "a-b-tar-gz"),
    ("${FILE/*./}", "gz"),
    ("${FILE//*/x}", "x"),
    ("${FILE/nope/x}", "a.b.tar.gz"),
    (r"${PATH//\//_}", "_usr_bin:_bin"),
    ("${X//n/$EMPTY}", "oe"),
    ("${X/${NO:-n}/N}", "oNe"),
    ("${NO/a/b}", ""),
    ("${EMPTY//*/x}", "x"),
]


@pytest.mark.parametrize(
    ("text", "expected"), PLAIN + NAMES + QUOTES + ESCAPES + OPERATORS + PATTERNS
)
def test_text_is_expanded(text: str, expected: str) -> None:
    assert expand(text, ENV).text == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("`$X", "$X"),
        (r"C:\dir\$X", r"C:\dir\one"),
        ('"a`"b"', 'a"b'),
        ("a` b", "a b"),
        (r'"C:\"', "C:\\"),
    ],
)
def test_the_backtick_escapes_where_the_file_says_so(text: str, expected: str) -> None:
    assert expand(text, ENV, "`").text == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('"a', "a double quote is not closed"),
        ('"', "a double quote is not closed"),
        ("it's", "a single quote is not closed"),
        ("${X", '"}" is missing'),
        ("${", "no substitution"),
        ("${}", "no substitution"),
        ("${:-a}", "no substitution"),
        ("${{X}}", "no substitution"),
        ("${X:-a", '"}" is missing'),
        ("${X:", '"}" is missing'),
        ("${X/a", '"/" is missing'),
        ("${X/a/b", '"}" is missing'),
        ("${X=a}", '"=" is no operator'),
        ("${X:=a}", '":=" is no operator'),
        ("${X:#a}", '":#" is no operator'),
        ("${X^^}", '"^" is no operator'),
        ("${X#}", "the pattern is empty"),
        ("${NO%$EMPTY}", "the pattern is empty"),
        (r"${X#\a}", "is no escape of a pattern"),
        (r"${X/\a/b}", "is no escape of a pattern"),
        ("${X//n/'$'}", 'the replacement "$" holds a "$"'),
        ("${NO:-" * 5000, "nested too deeply"),
        ("${NO:?give it}", "NO: give it"),
        ("${NO?}", "NO: is not allowed to be unset"),
        ("${EMPTY:?}", "EMPTY: is not allowed to be empty"),
    ],
)
def test_what_cannot_be_expanded_is_an_error(text: str, message: str) -> None:
    with pytest.raises(WordError) as caught:
        expand(text, ENV)
    assert message in caught.value.message


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("${NO:?}", {"NO"}),
        ("$NEITHER${NO?}", {"NO"}),
        ("${EMPTY:?}", set()),
        ("${X#}", set()),
        ("${X#$EMPTY}", set()),
        ("$NEITHER${X%$NO}", {"NO"}),
        ("$X'", set()),
    ],
)
def test_an_error_names_the_variables_that_would_mend_it(text: str, names: set[str]) -> None:
    with pytest.raises(WordError) as caught:
        expand(text, ENV)
    assert caught.value.depends == names


@pytest.mark.parametrize(
    ("text", "read", "unset", "blank"),
    [
        ("a", "", "", ""),
        ("'$X'", "", "", ""),
        ("$X", "X", "", ""),
        ("$X$NO", "X NO", "NO", "NO"),
        ("${NO:-a}", "NO", "NO", ""),
        ("${NO+a}", "NO", "NO", ""),
        ("${NO:-$X}", "NO X", "NO", ""),
        ("${NO%x}", "NO", "NO", "NO"),
        ("${NO/a/$NEITHER}", "NO NEITHER", "NO NEITHER", "NO NEITHER"),
        ("${EMPTY:-a}", "EMPTY", "", ""),
    ],
)
def test_the_variables_that_a_text_names_are_told(
    text: str, read: str, unset: str, blank: str
) -> None:
    found = expand(text, ENV)
    assert found.read == frozenset(read.split())
    assert found.unset == frozenset(unset.split())
    assert found.blank == frozenset(blank.split())


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", ()),
        ("  a\tb ", ("a", "b")),
        ("$WORDS", ("p", "q")),
        ('"$WORDS"', (" p  q ",)),
        ("a$WORDS", ("a", "p", "q")),
        ("a'b c'd e", ("ab cd", "e")),
        (r"a\ b c", ("a b", "c")),
        ("$EMPTY", ()),
        ('""', ()),
        ("${NO:-8080 9090}", ("8080", "9090")),
    ],
)
def test_words_split_at_unquoted_white_space(text: str, words: tuple[str, ...]) -> None:
    assert expand_words(text, ENV).words == words


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('it\'s "$X"\n', 'it\'s "one"\n'),
        (r"\$X", "$X"),
        ("${NO:-a}\n", "a\n"),
        ("plain", "plain"),
    ],
)
def test_quotes_are_text_in_a_document(text: str, expected: str) -> None:
    assert expand_document(text, ENV).text == expected


def test_bytes_that_are_no_utf8_come_out_as_buildkit_gives_them() -> None:
    assert expand("caf\udce9", {}).text == "caf\ufffd"
    assert expand("'caf\udce9'", {}).text == "caf\ufffd"


def test_a_pattern_of_many_wildcards_is_no_trap() -> None:
    value, pattern = "a" * 3000, "*a" * 12
    assert expand(f"${{V#{pattern}b}}", {"V": value}).text == value
    assert expand(f"${{V##{pattern}}}", {"V": value}).text == ""
    assert expand(f"${{V#{pattern}}}", {"V": value}).text == value[12:]
    assert expand(f"${{V/{pattern}b/x}}", {"V": value[:200]}).text == value[:200]
