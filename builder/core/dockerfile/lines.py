"""A Dockerfile's bytes as logical lines: white space, directives, comments, continuations.

As BuildKit's parser reads them:
https://github.com/moby/buildkit/blob/master/frontend/dockerfile/parser/parser.go
"""

from __future__ import annotations

import re
from typing import NamedTuple

from builder.core.errors import DockerfileError, Location

# The white space of Go's unicode.IsSpace. Python's own set has four control characters more, which
# BuildKit takes as parts of words.
SPACE = (
    "\t\n\v\f\r \x85\xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a"
    "\u2028\u2029\u202f\u205f\u3000"
)
SPACES = re.compile(f"[{SPACE}]+")
_BOM = b"\xef\xbb\xbf"
_SURROGATE = re.compile("[\ud800-\udfff]")


def decode(data: bytes) -> str:
    """The text of a Dockerfile; bytes that are no UTF-8 become lone surrogates and are kept."""
    return data.removeprefix(_BOM).decode("utf-8", "surrogateescape")


def printable(text: str) -> str:
    """The text as BuildKit passes it on: U+FFFD for each byte that is no UTF-8."""
    return text if text.isascii() else _SURROGATE.sub("\ufffd", text)


_DIRECTIVE = re.compile(
    rf"#[{SPACE}]*([a-zA-Z][a-zA-Z0-9]*)[\t\n\f\r ]*=[\t\n\f\r ]*(.+?)[\t\n\f\r ]*"
)
_DIRECTIVES = ("syntax", "escape", "check")
# An escape that ends the line continues it, unless another escape stands before it.
_CONTINUED = {
    escape: re.compile(rf"(?:(?<=[^{re.escape(escape)}])|\A){re.escape(escape)}[ \t]*\Z")
    for escape in "\\`"
}
_LONGEST_LINE = 65536


class LogicalLine(NamedTuple):
    """An instruction's text, continuations joined, no blanks around it; lines count from 1."""

    text: str
    line: int
    end_line: int


class DockerfileLines:
    """Hands out the logical lines of one file, and the here-documents that follow them."""

    def __init__(self, data: bytes, path: str) -> None:
        self.path = path
        self._lines = decode(data).split("\n")
        if not self._lines[-1]:
            self._lines.pop()
        self._next = 0
        self._refuse_long_lines(data)
        directives = self._directives()
        self.escape = self._escape(directives.get("escape"))
        self.syntax = directives.get("syntax", (0, ""))[1].partition(" ")[0]
        self.check = directives.get("check", (0, ""))[1]
        self._continued = _CONTINUED[self.escape]

    def next(self) -> LogicalLine | None:
        """The next line that holds an instruction; comments and blank lines are left out."""
        while self._next < len(self._lines):
            text = self._lines[self._next].rstrip("\r").lstrip(SPACE)
            self._next += 1
            if not text or text[0] == "#":
                continue
            found = self._continued.search(text) if self.escape in text else None
            if found is None:
                return LogicalLine(text.rstrip(SPACE), self._next, self._next)
            return self._join(text[: found.start()])
        return None

    def heredoc(self, name: str, *, strip_tabs: bool, line: int) -> tuple[str, int]:
        """The body that ends with a line ``name``, and the number of that line."""
        for index in range(self._next, len(self._lines)):
            text = self._lines[index].rstrip("\r")
            if (text.lstrip("\t") if strip_tabs else text) == name:
                body = "".join(f"{each}\n" for each in self._lines[self._next : index])
                self._next = index + 1
                return body, self._next
        raise DockerfileError(
            f"the here-document <<{name} has no end",
            where=Location(self.path, line),
            hint=f'end it with a line that holds just "{name}"',
        )

    def _join(self, start: str) -> LogicalLine:
        line = self._next
        parts = [start]
        while self._next < len(self._lines):
            text = self._lines[self._next].rstrip("\r")
            self._next += 1
            bare = text.lstrip(SPACE)
            if not bare or bare[0] == "#":
                continue
            found = self._continued.search(text) if self.escape in text else None
            if found is None:
                parts.append(text)
                break
            parts.append(text[: found.start()])
        return LogicalLine("".join(parts).strip(SPACE), line, self._next)

    def _directives(self) -> dict[str, tuple[int, str]]:
        """The directives at the very top: name -> (line, value); anything else ends them."""
        found: dict[str, tuple[int, str]] = {}
        shebang = bool(self._lines) and self._lines[0].startswith("#!")
        for number, raw in enumerate(self._lines, start=1):
            match = _DIRECTIVE.fullmatch(raw.rstrip("\r").lstrip(SPACE))
            name = match[1].lower() if match else ""
            if match is None or name not in _DIRECTIVES:
                if shebang and number == 1:
                    return self._syntax_below_shebang()
                break
            if name in found:
                raise DockerfileError(
                    f'the directive "{name}" is here a second time',
                    where=Location(self.path, number),
                    hint=f"it is on line {found[name][0]} already; remove one of them",
                )
            found[name] = (number, match[2])
        return found

    def _syntax_below_shebang(self) -> dict[str, tuple[int, str]]:
        """A shebang line hides all directives but ``syntax``, which is looked up apart."""
        for number, raw in enumerate(self._lines[1:], start=2):
            match = _DIRECTIVE.fullmatch(raw.rstrip("\r"))
            if match is None or match[1].lower() not in _DIRECTIVES:
                break
            if match[1].lower() == "syntax":
                return {"syntax": (number, match[2])}
        return {}

    def _escape(self, directive: tuple[int, str] | None) -> str:
        if directive is None:
            return "\\"
        line, value = directive
        if value not in _CONTINUED:
            raise DockerfileError(
                f'"{value}" cannot be the escape character',
                where=Location(self.path, line),
                hint="it is a backslash or a backtick",
            )
        return value

    def _refuse_long_lines(self, data: bytes) -> None:
        if len(data) <= _LONGEST_LINE:
            return
        for number, raw in enumerate(data.split(b"\n"), start=1):
            if len(raw) >= _LONGEST_LINE:
                raise DockerfileError(
                    f"the line has {len(raw)} bytes; BuildKit reads at most {_LONGEST_LINE - 1}",
                    where=Location(self.path, number),
                    hint="split it with a continuation, or COPY the content from a file",
                )


def placed(error: DockerfileError, where: Location) -> DockerfileError:
    """The error at ``where``, unless it has a more exact place already."""
    if error.where is not None:
        return error
    return DockerfileError(printable(error.message), where=where, hint=error.hint)
