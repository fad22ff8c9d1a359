r"""Go's ``filepath.Match`` and moby's ``patternmatcher`` as Python functions.

They are two languages: in ``COPY *.txt /`` the first holds, where ``**`` is no more than ``*``; in
ignore files, ``--exclude`` and ``--parents`` the second, where ``**`` crosses folders. moby turns a
pattern into the text of a Go regular expression with little care for character classes; we build
that same text and then translate it, so that odd patterns (``[*]``, ``^*``, ``\d``) match what
they match in the engine. Patterns and paths are text in which bytes that are no UTF-8 are
surrogates (``surrogateescape``); Go sees each such byte as one character.

https://go.dev/src/path/filepath/match.go and
https://github.com/moby/patternmatcher/blob/main/patternmatcher.go are what is followed.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache

from msgspec import Struct

from builder.core.errors import ContextError, Location

Match = Callable[[str], object]

_WILD = frozenset("*?[")
_ESCAPED_BY_MOBY = frozenset(".+()$")  # it means to escape "{", "|" and "}" too, but does not
_REPETITION = re.compile(r"[0-9]+(?:,[0-9]*)?\}", re.ASCII)
_PERL_CLASSES = {"d": "0-9", "s": r"\t\n\f\r ", "w": "0-9A-Za-z_"}
# Many images of a tree copy files of the same name, and each is asked about in several ways.
_KNOWN = 1024
_BAD_BYTE = "\ufffd\udc80-\udcff"


class BadPatternError(ContextError):
    """The pattern is malformed, for Go's matcher or for its regular expressions."""


class Glob(Struct, frozen=True, kw_only=True):
    """A compiled ``filepath.Match`` pattern; ``depth`` is the number of folders that a matching
    path can have above it, None where a class like ``[^a]`` may match a slash.
    """

    matches: Match
    depth: int | None


def clean(path: str) -> str:
    """Go's ``filepath.Clean``: no double slash, no ``.``, no ``..`` that can be resolved."""
    parts: list[str] = []
    rooted = path.startswith("/")
    for part in path.split("/"):
        if part in ("", "."):
            continue
        if part != "..":
            parts.append(part)
        elif parts and parts[-1] != "..":
            parts.pop()
        elif not rooted:
            parts.append(part)
    return ("/" if rooted else "") + "/".join(parts) or "."


def has_wildcard(path: str) -> bool:
    """Whether COPY and ADD take the path for a pattern."""
    return not _WILD.isdisjoint(re.sub(r"\\.", "", path, flags=re.DOTALL))


@lru_cache(maxsize=_KNOWN)
def compile_glob(pattern: str, *, where: Location | None = None) -> Glob:
    """Compile a ``filepath.Match`` pattern.

    Raises:
        BadPatternError: where Go says "syntax error in pattern".

    """
    chunks: list[list[str]] = [[]]
    crosses = False
    rest = pattern
    while rest:
        char, rest = rest[0], rest[1:]
        if char == "*":
            chunks.append([])
        elif char == "?":
            chunks[-1].append("[^/]")
        elif char == "[":
            members, rest = _glob_class(rest, pattern, where)
            chunks[-1].append(members)
            crosses = crosses or re.fullmatch(members, "/") is not None
        elif char == "\\":
            if not rest:
                raise _bad(pattern, "it ends in a backslash", where)
            chunks[-1].append(re.escape(rest[0]))
            rest = rest[1:]
        else:
            chunks[-1].append(re.escape(char))
    compiled = [re.compile("".join(chunk)) for chunk in chunks]
    return Glob(
        matches=lambda path: _match_chunks(compiled, path),
        depth=None if crosses else pattern.count("/"),
    )


@lru_cache(maxsize=_KNOWN)
def compile_pattern(pattern: str, *, where: Location | None = None) -> Match:
    """Compile one cleaned ``patternmatcher`` pattern without its "!" into a test of one path.

    Raises:
        BadPatternError: where moby fails, be it at once or when it first uses the pattern.

    """
    compile_glob(pattern, where=where)
    kind, expression = _go_expression(pattern)
    if kind == "exact":
        return pattern.__eq__
    if kind == "prefix":
        start = pattern.removesuffix("**")
        return lambda path: path.startswith(start)
    if kind == "suffix":
        end = pattern.removeprefix("**")
        return lambda path: path.endswith(end) or (end.startswith("/") and path == end[1:])
    return re.compile(_python_expression(expression, pattern, where)).search


def fixed_parts(pattern: str) -> tuple[tuple[str, ...], bool]:
    """The leading folders that every match starts with, and whether they are the whole pattern."""
    parts = pattern.split("/")
    for count, part in enumerate(parts):
        if not set(part).isdisjoint("*?[]\\"):
            # A "|" is an alternative then, of which only the first starts with these folders.
            return (() if "|" in pattern else tuple(parts[:count])), False
    return tuple(parts), True


def _bad(pattern: str, reason: str, where: Location | None) -> BadPatternError:
    return BadPatternError(
        f'"{printable(pattern)}" is no valid pattern: {reason}',
        where=where,
        hint=r"patterns have *, ?, [a-z], [^a-z] and \ before a character that stands for itself",
    )


def printable(path: str) -> str:
    """The path as messages show it: one line, no bytes that a terminal cannot take."""
    text = path.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    return "".join(char if char.isprintable() else repr(char)[1:-1] for char in text)


# -- filepath.Match ---------------------------------------------------------------------------


def _match_chunks(chunks: list[re.Pattern[str]], path: str) -> bool:
    """Go takes the first place where what stands between two stars fits, and never goes back.

    One regular expression would go back, and let a class match a slash where Go does not.
    """
    last = len(chunks) - 1
    first = chunks[0].match(path)
    if first is None:
        return False
    at = first.end()
    for number, chunk in enumerate(chunks[1:], start=1):
        slash = path.find("/", at)
        stop = len(path) if slash < 0 else slash
        found = (chunk.match(path, start) for start in range(at, stop + 1))
        at = next((m.end() for m in found if m and (number < last or m.end() == len(path))), -1)
        if at < 0:
            return False
    return at == len(path)


def _glob_class(rest: str, pattern: str, where: Location | None) -> tuple[str, str]:
    """What follows "[": the class for ``re`` and the rest of the pattern."""
    negated = rest.startswith("^")
    rest = rest[negated:]
    ranges: list[tuple[str, str]] = []
    while not ranges or not rest.startswith("]"):
        low, rest = _class_char(rest, pattern, where)
        high = low
        if rest.startswith("-"):
            high, rest = _class_char(rest[1:], pattern, where)
        ranges.append((low, high))
    # A range that runs backwards is valid and matches nothing.
    return _class([_range(*pair) for pair in ranges if pair[0] <= pair[1]], negated), rest[1:]


def _class_char(rest: str, pattern: str, where: Location | None) -> tuple[str, str]:
    if not rest or rest[0] in "-]":
        raise _bad(pattern, 'a "[" is not closed, or is empty, or has a stray "-"', where)
    if rest[0] == "\\":
        rest = rest[1:]
    if len(rest) < 2 or "\udc80" <= rest[0] <= "\udcff":  # noqa: PLR2004 - the character and a "]"
        raise _bad(pattern, 'a "[" is not closed', where)
    return rest[0], rest[1:]


def _range(low: str, high: str) -> str:
    return re.escape(low) if low == high else f"{re.escape(low)}-{re.escape(high)}"


def _class(members: list[str], negated: bool) -> str:  # noqa: FBT001 - private, read at its calls
    if not members:
        return r"[\s\S]" if negated else r"[^\s\S]"
    return f"[{'^' if negated else ''}{''.join(members)}]"


# -- patternmatcher ---------------------------------------------------------------------------


def _go_expression(pattern: str) -> tuple[str, str]:
    """How moby matches the pattern: "exact", "prefix", "suffix" or "regexp" with its text."""
    kind = "exact"
    out = ["^"]
    at = 0
    while at < len(pattern):
        start, char = at, pattern[at]
        at += 1
        if char == "*" and pattern.startswith("*", at):
            at += 2 if pattern.startswith("/", at + 1) else 1
            if at < len(pattern):
                out.append("(.*/)?")
                kind = "regexp"
            elif kind == "exact":
                kind = "prefix"
            else:
                out.append(".*")
                kind = "regexp"
            if start == 0:
                kind = "suffix"
        elif char in "*?":
            out.append("[^/]*" if char == "*" else "[^/]")
            kind = "regexp"
        elif char == "\\":
            out.append(pattern[start : start + 2])
            at += 1
            kind = "regexp"
        elif char in _ESCAPED_BY_MOBY:
            out.append(f"\\{char}")
        else:
            out.append(char)
            if char in "[]":
                kind = "regexp"
    return kind, "".join(out)


def _python_expression(expression: str, pattern: str, where: Location | None) -> str:
    """Translate the Go expressions that ``_go_expression`` makes; refuse what has no equal."""
    out: list[str] = []
    rest = expression
    while rest:
        char, rest = rest[0], rest[1:]
        if char == "\\":
            members, rest = _go_escape(rest, pattern, where)
            out.append(f"[{members}]")
        elif char == "[":
            members, rest = _go_class(rest, pattern, where)
            out.append(members)
        elif char == "{" and _REPETITION.match(rest):
            raise _bad(pattern, f'"{{{rest}" is a repetition in the engine', where)
        elif char in "^.*?()|":
            out.append(char)
        elif char == "\ufffd" or "\udc80" <= char <= "\udcff":
            out.append(f"[{_BAD_BYTE}]")
        else:
            out.append(re.escape(char))
    return "".join(out) + r"\Z"


def _go_escape(rest: str, pattern: str, where: Location | None) -> tuple[str, str]:
    r"""What follows a backslash: members of a class for ``re`` and the rest."""
    char, rest = rest[0], rest[1:]
    if char in _PERL_CLASSES:
        return _PERL_CLASSES[char], rest
    if char.isalnum() or not char.isascii():
        raise _bad(pattern, f'"\\{char}" stands for something else in the engine', where)
    return re.escape(char), rest


def _go_class(rest: str, pattern: str, where: Location | None) -> tuple[str, str]:
    negated = rest.startswith("^")
    rest = rest[negated:]
    members: list[str] = []
    while not members or not rest.startswith("]"):
        if rest.startswith("[:"):
            raise _bad(pattern, '"[:" starts a named class in the engine', where)
        low, rest = _go_class_char(rest, pattern, where)
        high = low
        if rest.startswith("-") and not rest.startswith("-]"):
            high, rest = _go_class_char(rest[1:], pattern, where)
        if len(low) > 1 or len(high) > 1:
            if low != high:
                raise _bad(pattern, "a range has a class as its end", where)
            members.append(low)
        elif low > high:
            raise _bad(pattern, f'the range "{low}-{high}" runs backwards', where)
        else:
            members.append(_BAD_BYTE if low == high == "\ufffd" else _range(low, high))
    return _class(members, negated), rest[1:]


def _go_class_char(rest: str, pattern: str, where: Location | None) -> tuple[str, str]:
    r"""One character, or the members of a class such as ``\d``, and the rest."""
    if rest.startswith("\\") and len(rest) > 1:
        members, after = _go_escape(rest[1:], pattern, where)
        return (rest[1] if rest[1] not in _PERL_CLASSES else members), after
    if not rest:
        raise _bad(pattern, 'a "[" is not closed', where)
    return rest[0], rest[1:]
