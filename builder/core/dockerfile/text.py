"""What counts as white space in a Dockerfile, and how its bytes become text."""

from __future__ import annotations

import re

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
