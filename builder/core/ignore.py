"""Ignore files (``.dockerignore``) and lists of patterns, decided as BuildKit decides them.

BuildKit asks moby's matcher while it walks the folder from the top, and passes on which patterns
matched the folder above (``MatchesUsingParentResults``). A pattern that could not change the
verdict on a folder is not tested there, so it is not inherited either: after ``**/tmp`` a line
``!app`` does not bring ``app/tmp`` back. Testing all parents of a path on its own gives another
answer there (``MatchesOrParentMatches``), and BuildKit uses that one when it opens a file; where
only the second excludes, the engine makes an empty file: ``Ignore.empties`` tells.

https://github.com/moby/patternmatcher/blob/main/patternmatcher.go has both;
https://docs.docker.com/build/concepts/context/#dockerignore-files says what is meant.
"""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct

from builder.core.errors import ContextError, InputError, Location, raise_all
from builder.core.globs import BadPatternError, Match, clean, compile_pattern, fixed_parts

# What Go's strings.TrimSpace takes off; Python's str.strip would take off more.
_SPACE = "\t\n\v\f\r \x85\xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u2028\u2029\u202f\u205f\u3000"  # noqa: E501
_LONGEST_LINE = 65535


class Rule(Struct, frozen=True, kw_only=True):
    """One pattern; ``exception`` is True where it had a "!", ``line`` counts from 1."""

    pattern: str
    exception: bool
    line: int
    match: Match
    fixed: tuple[str, ...]
    literal: bool

    def can_match_below(self, folder: str) -> bool:
        """Whether it may match a path below the folder without matching the folder itself."""
        parts = folder.split("/")
        for mine, theirs in zip(self.fixed, parts, strict=False):
            if mine != theirs:
                return False
        return not self.literal or len(self.fixed) > len(parts)


class Ignore(Struct, frozen=True, kw_only=True):
    """Rules in order; paths are relative to the context, with slashes, and clean.

    A verdict is the set of rules that matched, as bits; the one that matched last decides.
    """

    path: str
    rules: tuple[Rule, ...] = ()

    @classmethod
    def parse(cls, text: bytes | str, path: str) -> Ignore:
        """Read the content of an ignore file that messages name ``path``.

        Raises:
            InputError: with all lines that the engine would choke on.

        """
        if isinstance(text, bytes):
            text = text.decode("utf-8", "surrogateescape")
        rules: list[Rule] = []
        errors: list[InputError] = []
        for line, content in enumerate(text.removeprefix("\ufeff").split("\n"), start=1):
            where = Location(path, line)
            try:
                pattern = _normalized(content.removesuffix("\r"), where)
                if pattern:
                    rules.extend(_rules([pattern], where))
            except ContextError as error:
                errors.append(error)
        raise_all(errors)
        return cls(path=path, rules=tuple(rules))

    @classmethod
    def of_patterns(cls, patterns: Sequence[str], where: Location) -> Ignore:
        """The patterns of ``--exclude`` or ``--parents``, written at ``where``."""
        return cls(path=where.path, rules=tuple(_rules(patterns, where)))

    def hits(self, path: str, above: int = 0) -> int:
        """The rules that matched the path, where ``above`` are those that matched its folder."""
        found = 0
        excluded = False
        for number, rule in enumerate(self.rules):
            bit = 1 << number
            if not above & bit and (rule.exception != excluded or not rule.match(path)):
                continue
            found |= bit
            excluded = not rule.exception
        return found

    def all_hits(self, path: str) -> int:
        """The same for a path on its own, walked down from the top."""
        found = 0
        for folder in ancestry(path):
            found = self.hits(folder, found)
        return found

    def decided_by(self, hits: int) -> Rule | None:
        return self.rules[hits.bit_length() - 1] if hits else None

    def excluded(self, hits: int) -> bool:
        rule = self.decided_by(hits)
        return rule is not None and not rule.exception

    def excludes(self, path: str) -> bool:
        """Whether the engine leaves this path out; "" is the context itself and always stays."""
        return self.excluded(self.all_hits(path))

    def prunes(self, folder: str, hits: int) -> bool:
        """Whether the folder and all that can be below it stays out, so that no one need look."""
        return self.excluded(hits) and not any(
            rule.exception and rule.can_match_below(folder) for rule in self.rules
        )

    @property
    def can_empty(self) -> bool:
        """Whether ``empties`` may be true for any path: a rule excludes after an exception."""
        exceptions = [rule.exception for rule in self.rules]
        return True in exceptions and False in exceptions[exceptions.index(True) :]

    def empties(self, path: str) -> bool:
        """Whether the engine lists this file, but then refuses to open it and copies nothing."""
        parts = ancestry(path)
        exceptions = (rule for rule in self.rules if rule.exception)
        if not any(rule.match(part) for rule in exceptions for part in parts):
            return False  # without an exception the two ways of asking agree
        if self.excludes(path):
            return False
        excluded = False
        for rule in self.rules:
            if rule.exception == excluded and any(map(rule.match, parts)):
                excluded = not rule.exception
        return excluded


def ancestry(path: str) -> list[str]:
    """The folders above a path, the topmost first, and the path itself."""
    if not path:
        return []
    parts = path.split("/")
    return ["/".join(parts[: count + 1]) for count in range(len(parts))]


def _normalized(line: str, where: Location) -> str:
    """One line as moby's ``ignorefile`` hands it on; "" for nothing."""
    if len(line) > _LONGEST_LINE:
        raise BadPatternError(f"the line is longer than {_LONGEST_LINE} bytes", where=where)
    if line.startswith("#"):
        return ""
    pattern = line.strip(_SPACE)
    exception = pattern.startswith("!")
    if exception:
        pattern = pattern[1:].strip(_SPACE)
    if pattern:
        pattern = clean(pattern)
        if len(pattern) > 1:
            pattern = pattern.removeprefix("/")
    return f"!{pattern}" if exception else pattern


def _rules(patterns: Sequence[str], where: Location) -> list[Rule]:
    rules = []
    for text in patterns:
        pattern = text.strip(_SPACE)
        if not pattern:
            continue
        pattern = clean(pattern)
        exception = pattern.startswith("!")
        if pattern == "!":
            raise BadPatternError('a "!" needs a pattern after it', where=where)
        pattern = pattern[exception:]
        fixed, literal = fixed_parts(pattern)
        match = compile_pattern(pattern, where=where)
        rules.append(
            Rule(
                pattern=pattern,
                exception=exception,
                line=where.line or 0,
                match=match,
                fixed=fixed,
                literal=literal,
            )
        )
    return rules
