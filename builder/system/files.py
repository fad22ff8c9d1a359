"""Replaces text files as a whole, and says in which folder ocbuild keeps its state."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping
from pathlib import Path


def replace_file(path: Path, text: str) -> None:
    """Write ``text`` to ``path`` by way of a new file beside it; missing folders are made.

    A reader sees the old text or the new one, never a part.

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


def state_dir(environ: Mapping[str, str], *, uid: int | None = None) -> Path:
    """The state folder: $OCBUILD_STATE, else the system's for root, else the user's own.

    scripts/setup-engine follows the same rule.
    """
    if chosen := environ.get("OCBUILD_STATE"):
        return Path(chosen).absolute()
    if (os.geteuid() if uid is None else uid) == 0:
        return Path("/var/lib/ocbuild")
    home = environ.get("XDG_STATE_HOME", "")
    # The XDG specification asks for relative paths to be ignored.
    if not Path(home).is_absolute():
        home = f"{environ.get('HOME') or Path.home()}/.local/state"
    return Path(home) / "ocbuild"
