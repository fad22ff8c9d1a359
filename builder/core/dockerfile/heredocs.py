"""Here-documents: finding ``<<NAME`` in an instruction and taking its body from the lines below."""

from __future__ import annotations

import re
from typing import NamedTuple

from builder.core.dockerfile.lines import Lines
from builder.core.dockerfile.model import Heredoc
from builder.core.dockerfile.words import WordError, words_as_written, words_of_delimiter
from builder.core.errors import DockerfileError

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


def opens(word: str) -> bool:
    """Whether a word of COPY or ADD stands for a here-document."""
    try:
        return "<<" in word and opening(word) is not None
    except WordError:
        return False


def read_heredocs(text: str, lines: Lines, line: int) -> tuple[tuple[Heredoc, ...], int]:
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
