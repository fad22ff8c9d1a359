"""The one file of a cloud's addresses and secrets: made once from its example, then only read."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from builder.core.errors import DeployError

FILE = "common.env"
EXAMPLE = "common.env.example"
RANDOM = "<random>"
# Hexadecimal digits need no quoting anywhere: not in a URL, not in SQL, not for a shell.
_BYTES = 20


def ensure(folder: Path) -> Path | None:
    """The file in ``folder``, made if it is missing and there is an example; None without either.

    Raises:
        DeployError: it cannot be written, or others may read it.

    """
    file, example = folder / FILE, folder / EXAMPLE
    if not file.exists():
        if not example.exists():
            return None
        write(file, example)
    mode = file.stat().st_mode & 0o077
    if mode:
        raise DeployError(
            f"{file} holds secrets, and others than its owner have access to it",
            hint=f"chmod 600 {file}",
        )
    return file


def write(file: Path, example: Path) -> None:
    """Make ``file`` from ``example``, with a new secret at each place of ``<random>``."""
    text = fill(example.read_text(encoding="utf-8"))
    try:
        # Private from its first byte, and never over a file that is there: its secrets are in use.
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError as error:
        raise DeployError(f"cannot write {file}: {error.strerror}") from error
    with os.fdopen(descriptor, "w", encoding="utf-8") as opened:
        opened.write(text)


def fill(example: str) -> str:
    """The text with secrets; comments keep their ``<random>``, for they explain it."""
    return "".join(
        line if line.startswith("#") else line.replace(RANDOM, secrets.token_hex(_BYTES))
        for line in example.splitlines(keepends=True)
    )
