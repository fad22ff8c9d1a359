"""What a source of COPY or ADD is: a path of the context, a URL, or a git repository."""

from __future__ import annotations

import posixpath
import re
from urllib.parse import unquote, urlsplit

_PROTOCOL = re.compile(r"([a-zA-Z0-9]+)://")
_SCP_STYLE = re.compile(r"[a-zA-Z0-9_-]+@[a-zA-Z0-9.-]+:")


def is_git(source: str) -> bool:
    """Whether ADD clones it; an http address is a repository only if its path ends with .git."""
    if source.startswith(("./", "../", "github.com/")):
        return False
    protocol = _PROTOCOL.match(source)
    if protocol is None:
        return _SCP_STYLE.match(source) is not None
    name = protocol[1].lower()
    if name not in ("http", "https"):
        return name in ("ssh", "git")
    try:
        return unquote(urlsplit(source).path).endswith(".git")
    except ValueError:
        return False


def is_remote(source: str) -> bool:
    """Whether ADD takes it from the network; no other protocol is known to BuildKit."""
    return source.startswith(("http://", "https://")) or is_git(source)


def is_whole_context(source: str) -> bool:
    return posixpath.normpath(f"/{source}").strip("/") == ""
