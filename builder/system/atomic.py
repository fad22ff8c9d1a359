"""Replaces a text file as a whole: a reader sees the old text or the new one, never a part."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path


def replace_file(path: Path, text: str) -> None:
    """Write ``text`` to ``path`` by way of a new file beside it; missing folders are made.

    Raises:
        OSError: if that cannot be done; what was at ``path`` then still is.

    """
    new = path.with_name(f".{path.name}.{os.urandom(6).hex()}.new")
    try:
        descriptor = _create(new)
    except FileNotFoundError:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = _create(new)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8", errors="backslashreplace") as file:
            file.write(text)
        new.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            new.unlink()
        raise


def _create(path: Path) -> int:
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
