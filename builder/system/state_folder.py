"""Where ocbuild keeps what belongs to this machine: the embedded registry, the engine's log."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path


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
