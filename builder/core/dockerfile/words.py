"""Words as BuildKit's shell lexer reads them: quotes, escapes and ``$variables``.

Supported are ``$name``, ``${name}``, ``:-``, ``-``, ``:+``, ``+``, ``:?``, ``?``, ``#``, ``##``,
``%``, ``%%``, ``/pattern/text`` and ``//pattern/text``, nested at will; as
https://github.com/moby/buildkit/blob/master/frontend/dockerfile/shell/lex.go has them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from msgspec import Struct

from builder.core.dockerfile import patterns
from builder.core.dockerfile.lines import SPACES, printable

BACKSLASH = "\\"
_NONE: frozenset[str] = frozenset()
_SPECIAL = {escape: re.compile(rf"""[$'"{re.escape(escape)}]""") for escape in "\\`"}
_PLAIN = {escape: re.compile(rf"""[^$'"<}}/{re.escape(escape)}]+""") for escape in "\\`"}
_UNQUOTED_SPECIAL = re.compile(r"[$\\]")
_AFTER_ANGLES = re.compile(r"[\t\r ]*")
_SPECIAL_NAMES = "@*#?-$!"
_OPERATORS = "the operators are :- - :+ + :? ? # ## % %% / and //"


class WordError(Exception):
    """The text is no word: ``message`` says what is wrong, ``hint`` how to mend it.

    ``depends``: variables without a value that would make it one if they had one.
    """

    def __init__(
        self, message: str, *, hint: str | None = None, depends: frozenset[str] = _NONE
    ) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.depends = depends


class Expansion(Struct, frozen=True, kw_only=True):
    """An expanded text.

    ``read``: all variables that it names. ``unset``: those of them without a value. ``blank``:
    those of ``unset`` for which the text gives no alternative, so that nothing stands in their
    place.
    """

    text: str
    read: frozenset[str] = _NONE
    unset: frozenset[str] = _NONE
    blank: frozenset[str] = _NONE


class WordExpansion(Struct, frozen=True, kw_only=True):
    """An expanded text, split into words at unquoted white space; names as in ``Expansion``."""

    words: tuple[str, ...]
    read: frozenset[str] = _NONE
    unset: frozenset[str] = _NONE
    blank: frozenset[str] = _NONE


def expand(text: str, env: Mapping[str, str], escape: str = BACKSLASH) -> Expansion:
    """The text with its variables replaced, quotes and escapes removed.

    Raises:
        WordError: a quote or brace is not closed, a substitution is not known or not met.

    """
    plain = expand_plain(text, escape)
    return Expansion(text=plain) if plain is not None else _expansion(_Lexer(text, env, escape))


def expand_plain(text: str, escape: str = BACKSLASH) -> str | None:
    """What a text comes to if it has no more than quotes around it, else None; for speed."""
    special = _SPECIAL[escape]
    if not special.search(text):
        return printable(text)
    if text[0] == text[-1] == '"' and not special.search(text, 1, len(text) - 1) and text != '"':
        return printable(text[1:-1])
    return None


def expand_words(text: str, env: Mapping[str, str], escape: str = BACKSLASH) -> WordExpansion:
    """As ``expand``, then split into words; white space from variables splits, quoted does not."""
    lexer = _Lexer(text, env, escape)
    words = lexer.words()
    return WordExpansion(
        words=tuple(map(printable, words)),
        read=frozenset(lexer.read),
        unset=frozenset(lexer.unset),
        blank=frozenset(lexer.blank),
    )


def expand_document(text: str, env: Mapping[str, str]) -> Expansion:
    """A here-document with its variables replaced; quotes are text, the escape is a backslash."""
    if not _UNQUOTED_SPECIAL.search(text):
        return Expansion(text=printable(text))
    return _expansion(_Lexer(text, env, BACKSLASH, _Style(quotes=False)))


def words_as_written(text: str) -> list[str]:
    """The words with quotes, escapes and variables left in; none where the text is no word."""
    style = _Style(raw_quotes=True, raw_escapes=True, keep_unset=True)
    try:
        return _Lexer(text, {}, BACKSLASH, style).words()
    except WordError:
        return []


def words_of_delimiter(text: str, *, raw_quotes: bool) -> list[str]:
    """The words of a here-document's delimiter, variables left in."""
    return _Lexer(text, {}, BACKSLASH, _Style(raw_quotes=raw_quotes, keep_unset=True)).words()


class _Style(Struct, frozen=True, kw_only=True):
    """How much is left as written."""

    quotes: bool = True
    raw_quotes: bool = False
    raw_escapes: bool = False
    keep_unset: bool = False


_EXPANDING = _Style()


class _Words:
    """Collects words; ``spread`` splits at white space, ``keep`` does not."""

    def __init__(self) -> None:
        self.done: list[str] = []
        self._word: list[str] = []

    def spread(self, text: str) -> None:
        first, *rest = SPACES.split(text)
        self._word.append(first)
        for piece in rest:
            self.flush()
            self._word.append(piece)

    def keep(self, text: str) -> None:
        self._word.append(text)

    def flush(self) -> None:
        word = "".join(self._word)
        if word:
            self.done.append(word)
        self._word.clear()


class _Lexer:
    """One pass over one text; ``raw`` says that escapes are kept for a pattern to read."""

    def __init__(
        self, text: str, env: Mapping[str, str], escape: str, style: _Style = _EXPANDING
    ) -> None:
        self.read: set[str] = set()
        self.unset: set[str] = set()
        self.blank: set[str] = set()
        self._text = text
        self._at = 0
        self._env = env
        self._escape = escape
        self._plain = _PLAIN[escape]
        self._style = style

    def text(self) -> str:
        return self._all(_Words())

    def words(self) -> list[str]:
        words = _Words()
        self._all(words)
        words.flush()
        return words.done

    def _all(self, words: _Words) -> str:
        try:
            return self._until("", self._style.raw_escapes, words)
        except RecursionError:
            raise WordError("substitutions are nested too deeply") from None

    def _peek(self) -> str:
        return self._text[self._at : self._at + 1]

    def _take(self) -> str:
        ch = self._text[self._at : self._at + 1]
        self._at += 1
        return ch

    def _until(self, stop: str, raw: bool, words: _Words) -> str:  # noqa: FBT001 - internal
        out: list[str] = []
        while ch := self._peek():
            if ch == stop:
                self._at += 1
                return "".join(out)
            if ch == "$":
                piece = self._dollar()
                words.spread(piece)
            elif (special := self._special(ch, raw)) is not None:
                piece = special
                words.keep(piece)
            else:
                piece = self._run()
                words.spread(piece)
            out.append(piece)
        if stop:
            raise WordError(f'"{stop}" is missing in "{printable(self._text)}"')
        return "".join(out)

    def _special(self, ch: str, raw: bool) -> str | None:  # noqa: FBT001 - internal
        """A quoted or escaped piece, which never splits; None where ``ch`` starts plain text."""
        if ch == "<":
            return self._angles()
        if ch == self._escape:
            self._at += 1
            return (ch if raw else "") + self._take()
        if ch == "'" and self._style.quotes:
            return self._single()
        if ch == '"' and self._style.quotes:
            return self._double(raw)
        return None

    def _run(self) -> str:
        found = self._plain.match(self._text, self._at)
        if found is None:
            return self._take()
        self._at = found.end()
        return found.group()

    def _angles(self) -> str:
        """``<`` or ``<<``; white space after ``<<`` belongs to the word of a here-document."""
        start = self._at
        self._at += 1
        if self._peek() == "<":
            found = _AFTER_ANGLES.match(self._text, self._at + 1)
            self._at = found.end() if found else self._at + 1
        return self._text[start : self._at]

    def _single(self) -> str:
        end = self._text.find("'", self._at + 1)
        if end < 0:
            raise WordError(f"a single quote is not closed in {printable(self._text)}")
        start = self._at
        self._at = end + 1
        return (
            self._text[start : end + 1] if self._style.raw_quotes else self._text[start + 1 : end]
        )

    def _double(self, raw: bool) -> str:  # noqa: FBT001 - internal
        self._at += 1
        out: list[str] = []
        while ch := self._peek():
            if ch == '"':
                self._at += 1
                inner = "".join(out)
                return f'"{inner}"' if self._style.raw_quotes else inner
            out.append(self._dollar() if ch == "$" else self._in_double(raw))
        raise WordError(f"a double quote is not closed in {printable(self._text)}")

    def _in_double(self, raw: bool) -> str:  # noqa: FBT001 - internal
        ch = self._take()
        if ch != self._escape:
            return ch
        kept = ch if raw else ""
        following = self._peek()
        if not following:
            return kept
        return kept + (self._take() if following in ('"', "$", self._escape) else ch)

    def _dollar(self) -> str:
        self._at += 1
        if self._peek() == "{":
            self._at += 1
            return self._braces()
        name = self._name()
        return self._plain_value(name, f"${name}") if name else "$"

    def _braces(self) -> str:
        if self._peek() in ("", "{", "}", ":"):
            raise WordError(f'"{printable(self._text)}" is no substitution: ${{ has no name')
        name = self._name()
        operator = self._take()
        if operator == "}":
            return self._plain_value(name, f"${{{name}}}")
        if operator == "/":
            return self._replace(name)
        null_is_unset = operator == ":"
        if null_is_unset:
            operator += self._take()
        if operator not in (":-", "-", ":+", "+", ":?", "?", "#", "%"):
            if operator in ("", ":"):
                raise WordError(f'"}}" is missing in "{printable(self._text)}"')
            raise WordError(f'"{operator}" is no operator of ${{{name}…}}', hint=_OPERATORS)
        outer, self.unset = self.unset, set()
        word = self._until("}", operator in "#%", _Words())
        if not word and operator in "#%" and not self._style.keep_unset:
            raise WordError(
                f"${{{name}{operator}{word}}}: the pattern is empty",
                hint="Docker Engine 26 and others of its time crash when they read this",
                depends=frozenset(self.unset),
            )
        self.unset |= outer
        return self._operate(name, operator, word)

    def _operate(self, name: str, operator: str, word: str) -> str:
        value = self._get(name)
        if value is None and self._style.keep_unset:
            return f"${{{name}{operator}{word}}}"
        if operator in "#%":
            return self._trim(name, operator, word, value)
        missing = value is None or (value == "" and operator[0] == ":")
        if operator[-1] == "+":
            return "" if missing else word
        if not missing:
            return value or ""
        if operator[-1] == "-":
            return word
        state = "unset" if value is None else "empty"
        raise WordError(
            f"{name}: {printable(word) or f'is not allowed to be {state}'}",
            hint=f"give {name} a value before this line",
            depends=frozenset([name]) if value is None else _NONE,
        )

    def _trim(self, name: str, operator: str, word: str, value: str | None) -> str:
        if value is None:
            self.blank.add(name)
        longest = word.startswith(operator)
        trim = patterns.trim_prefix if operator == "#" else patterns.trim_suffix
        try:
            return trim(value or "", word[longest:], longest=longest)
        except patterns.PatternError as error:
            raise WordError(f"${{{name}{operator}{word}}}: {error}") from None

    def _replace(self, name: str) -> str:
        every = self._peek() == "/"
        self._at += every
        pattern = self._until("/", raw=True, words=_Words())
        replacement = self._until("}", raw=True, words=_Words())
        value = self._get(name)
        if value is None:
            if self._style.keep_unset:
                return f"${{{name}/{pattern}/{replacement}}}"
            self.blank.add(name)
            value = ""
        if every and "$" in replacement:
            # Go's ReplaceAllString would read it as a reference to a group of the match.
            raise WordError(f'${{{name}//…}}: the replacement "{replacement}" holds a "$"')
        try:
            return patterns.replace(value, pattern, replacement, every=every)
        except patterns.PatternError as error:
            raise WordError(f"${{{name}/{pattern}/…}}: {error}") from None

    def _plain_value(self, name: str, written: str) -> str:
        value = self._get(name)
        if value is not None:
            return value
        self.blank.add(name)
        return written if self._style.keep_unset else ""

    def _get(self, name: str) -> str | None:
        self.read.add(name)
        value = self._env.get(name)
        if value is None:
            self.unset.add(name)
        return value

    def _name(self) -> str:
        """Letters, digits and ``_``; a number; or one of the shell's special parameters."""
        text, start = self._text, self._at
        end = start
        first = self._peek()
        if first.isdecimal():
            while end < len(text) and text[end].isdecimal():
                end += 1
        elif first and first in _SPECIAL_NAMES:
            end += 1
        else:
            while end < len(text) and (
                text[end].isalpha() or text[end].isdecimal() or text[end] == "_"
            ):
                end += 1
        self._at = end
        return text[start:end]


def _expansion(lexer: _Lexer) -> Expansion:
    return Expansion(
        text=printable(lexer.text()),
        read=frozenset(lexer.read),
        unset=frozenset(lexer.unset),
        blank=frozenset(lexer.blank),
    )
