"""An instruction's line taken apart: keyword, flags, and the words of each kind of instruction.

As https://github.com/moby/buildkit/blob/master/frontend/dockerfile/parser/line_parsers.go does it.
"""

from __future__ import annotations

import json
import re
from functools import cache
from typing import Any, NamedTuple, NoReturn

from builder.core.dockerfile.lines import SPACE, SPACES, DockerfileLines, printable
from builder.core.dockerfile.model import Flag, Heredoc
from builder.core.dockerfile.words import WordError, words_as_written, words_of_delimiter
from builder.core.errors import DockerfileError

_BLANKS = re.compile(r"[\t\v\f\r ]+")
_COMMAND = re.compile(r"([^\t\v\f\r ]+)(?:[\t\v\f\r ]+(.*))?", re.DOTALL)


class _Quoting:
    """The expressions for one escape character."""

    def __init__(self, escape: str) -> None:
        esc = re.escape(escape)
        plain = rf"""[^{SPACE}"'{esc}]+"""
        # In flags both kinds of quotes honour the escape, in words the single ones do not.
        quoted = rf"""(?:[^{{quote}}{esc}]+|{esc}(?:.|\Z))*"""
        double, single = quoted.format(quote='"'), quoted.format(quote="'")
        piece = rf"""{esc}(.|\Z)|"({double})(?:"|\Z)|'({single})(?:'|\Z)|({plain})"""
        self.any = re.compile(rf"""["'{esc}]""")
        self.flag_piece = re.compile(piece, re.DOTALL)
        self.escaped = re.compile(rf"{esc}(.|\Z)", re.DOTALL)
        # Quotes and escapes stay in the words; an escape that ends the text is dropped.
        self.word = re.compile(
            rf"""((?:{plain}|{esc}.|"(?:[^"{esc}]+|{esc}.)*(?:"|\Z|(?={esc}\Z))|'[^']*(?:'|\Z))*)"""
            rf"(?:{esc}\Z)?",
            re.DOTALL,
        )


@cache
def _quoting(escape: str) -> _Quoting:
    return _Quoting(escape)


class Command(NamedTuple):
    """``KEYWORD --flags rest``; the keyword as written."""

    keyword: str
    flags: tuple[Flag, ...]
    rest: str


class Arguments(NamedTuple):
    words: tuple[str, ...]
    json: bool = False
    legacy: bool = False


def split_command(text: str, escape: str) -> Command:
    """The parts of a text without blanks around it."""
    found = _COMMAND.fullmatch(text)
    keyword, rest = (found[1], (found[2] or "").lstrip(SPACE)) if found else ("", "")
    if not rest.startswith("--"):
        return Command(keyword, (), rest)
    flags: list[Flag] = []
    while rest.startswith("--"):
        word, rest = _flag_word(rest, escape)
        if word == "--":
            break
        if not word.isascii():
            # BuildKit reads flags byte by byte and would make other characters of it.
            raise DockerfileError(
                f'the flag "{printable(word)}" holds a character that is not ASCII',
                hint="flags can hold ASCII only",
            )
        name, equals, value = word[2:].partition("=")
        flags.append(Flag(name=name, value=value if equals else None))
    return Command(keyword, tuple(flags), rest)


def _flag_word(rest: str, escape: str) -> tuple[str, str]:
    """The first word without its quotes and escapes, and what follows it."""
    quoting = _quoting(escape)
    pieces: list[str] = []
    at = 0
    while found := quoting.flag_piece.match(rest, at):
        at = found.end()
        escaped, double, single, plain = found.groups()
        quoted = double if single is None else single
        pieces.append(escaped or plain or quoting.escaped.sub(r"\1", quoted or ""))
    return "".join(pieces), rest[at:].lstrip(SPACE)


def words_of(rest: str, escape: str) -> list[str]:
    """Words at white space; quotes hold together what they enclose, and stay."""
    quoting = _quoting(escape)
    if not quoting.any.search(rest):
        return [word for word in SPACES.split(rest) if word]
    return [found[1] for found in quoting.word.finditer(rest) if found[1]]


def whole(rest: str, _escape: str) -> Arguments:
    """The text as one argument."""
    return Arguments((rest,) if rest else ())


def blank_separated(rest: str, _escape: str) -> Arguments:
    return Arguments(tuple(_BLANKS.split(rest)) if rest else ())


def names_or_pairs(rest: str, escape: str) -> Arguments:
    """``NAME`` or ``NAME=value``, any number."""
    return Arguments(tuple(map(printable, words_of(rest, escape))))


def pairs(rest: str, escape: str) -> Arguments:
    """``NAME=value`` any number of times, or the old ``NAME text to the end``."""
    words = words_of(rest, escape)
    if not words:
        return Arguments(())
    if "=" not in words[0]:
        return _old_pair(rest)
    for word in words:
        name, equals, _ = word.partition("=")
        if not equals:
            raise DockerfileError(
                f'"{printable(word)}" is no name=value',
                hint="quote a value that holds blanks",
            )
        if not name:
            raise DockerfileError(f'"{printable(word)}" has no name before the "="')
    return Arguments(tuple(map(printable, words)))


def _old_pair(rest: str) -> Arguments:
    name, *value = _BLANKS.split(rest, maxsplit=1)
    if not value or "=" in name:
        raise DockerfileError(f'"{printable(name)}" has no value', hint="write NAME=value")
    return Arguments((printable(f"{name}={value[0]}"),), legacy=True)


def json_or_whole(rest: str, escape: str) -> Arguments:
    """The exec form ``["a", "b"]``, else the text as one argument."""
    words = _json_array(rest)
    return whole(rest, escape) if words is None else Arguments(words, json=True)


def json_or_blank_separated(rest: str, escape: str) -> Arguments:
    words = _json_array(rest)
    return blank_separated(rest, escape) if words is None else Arguments(words, json=True)


def health(rest: str, _escape: str) -> Arguments:
    """``NONE``, or ``CMD`` and a command in exec or shell form."""
    kind, *tail = SPACES.split(rest, maxsplit=1)
    command = json_or_whole(tail[0] if tail else "", _escape)
    return Arguments((kind, *command.words) if kind else (), json=command.json)


def _json_array(rest: str) -> tuple[str, ...] | None:
    text = rest.lstrip(SPACE)
    if not text.startswith("["):
        return None
    try:
        found, end = _JSON.raw_decode(text)
    except (ValueError, RecursionError):
        return None
    if text[end:].strip("\t\n\r "):
        raise DockerfileError(
            f'text follows the JSON array: "{printable(text[end:].strip())}"',
            hint="engines differ in how they read this; remove the text, or use the shell form",
        )
    if not all(isinstance(word, str) for word in found):
        raise DockerfileError(
            "the JSON array holds something that is no string",
            hint='quote it: ["like", "this"]',
        )
    return tuple(map(printable, found))


def _no_constant(name: str) -> NoReturn:
    """``NaN`` and ``Infinity`` are Python's, not JSON's."""
    raise ValueError(name)


_JSON: Any = json.JSONDecoder(parse_constant=_no_constant)


# -- here-documents ----------------------------------------------------------------------------


_WORD = re.compile(r"(\d*)<<(-?)[\t\n\f\r ]*([^<]*)", re.ASCII)
_LEADING_TABS = re.compile(r"^\t+", re.MULTILINE)


class Opening(NamedTuple):
    """``<<NAME`` in an instruction; ``expand`` is False where a part of the name is quoted."""

    name: str
    expand: bool
    strip_tabs: bool


def opening(word: str) -> Opening | None:
    """What a word opens; None where it opens nothing.

    Raises:
        WordError: the name has a quote that is not closed.

    """
    match = _WORD.fullmatch(word)
    if match is None or not match[3]:
        return None
    names = words_of_delimiter(match[3], raw_quotes=False)
    if len(names) != 1:
        return None
    written = words_of_delimiter(match[3], raw_quotes=True)
    if len(written) != 1:
        raise WordError(f"<<{match[3]} is no name of a here-document")
    quotes = [text.count("'") + text.count('"') for text in (names[0], written[0])]
    return Opening(names[0], quotes[0] == quotes[1], match[2] == "-")


def opens_heredoc(word: str) -> bool:
    """Whether a word of COPY or ADD stands for a here-document."""
    try:
        return "<<" in word and opening(word) is not None
    except WordError:
        return False


def read_heredocs(text: str, lines: DockerfileLines, line: int) -> tuple[tuple[Heredoc, ...], int]:
    """The documents that an instruction's text opens, in order, and the line where they end.

    The end is 0 where there are none.
    """
    if "<<" not in text:
        return (), 0
    documents: list[Heredoc] = []
    end = 0
    for word in words_as_written(text):
        try:
            found = opening(word)
        except WordError as error:
            raise DockerfileError(error.message, hint=error.hint) from None
        if found is None:
            continue
        body, end = lines.heredoc(found.name, strip_tabs=found.strip_tabs, line=line)
        documents.append(
            Heredoc(
                name=found.name,
                content=_LEADING_TABS.sub("", body) if found.strip_tabs else body,
                expand=found.expand,
                strip_tabs=found.strip_tabs,
            )
        )
    return tuple(documents), end
