"""The one file of a cloud's addresses and secrets: made once from its example, then only read."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable
from pathlib import Path

from builder.core.deploy.records import RANDOM, assignments, filled, secrets_lost
from builder.core.errors import DeployError
from builder.core.options import DeployOptions
from builder.deploy.project import DeployedProject
from builder.deploy.shared_record import SharedRecords

FILE = "common.env"
EXAMPLE = "common.env.example"
# Hexadecimal digits need no quoting anywhere: not in a URL, not in SQL, not for a shell.
_BYTES = 20


def env_files_of(
    project: DeployedProject,
    options: DeployOptions,
    shared: SharedRecords,
    say: Callable[[str], None],
) -> dict[str, Path | None]:
    """The file of addresses and secrets of each stack, made where it is missing.

    Raises:
        DeployError: it is missing, and something was deployed with one: new secrets would not fit.

    """
    if options.env_file is not None:
        return dict.fromkeys(project.stacks, options.env_file)
    folders = {name: stack.file.parent for name, stack in project.stacks.items()}
    files: dict[Path, Path | None] = {}
    for folder in dict.fromkeys(folders.values()):
        file = folder / FILE
        missing = not file.exists() and (folder / EXAMPLE).exists()
        if missing and (record := shared.secrets_in_use()) is not None:
            raise secrets_lost(str(file), record)
        files[folder] = ensure(folder)
        if missing:
            say(f"wrote {file} with new secrets; keep it")
    return {name: files[folder] for name, folder in folders.items()}


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
    if names := [name for name, value in assignments(_read(file)).items() if RANDOM in value]:
        raise DeployError(
            f"{file}: {', '.join(names)} still has {RANDOM} for a value, which is no secret",
            hint=f"remove the file, and it is made with new secrets from {EXAMPLE}",
        )
    mode = file.stat().st_mode & 0o077
    if mode:
        raise DeployError(
            f"{file} holds secrets, and others than its owner have access to it",
            hint=f"chmod 600 {file}",
        )
    return file


def write(file: Path, example: Path) -> None:
    """Make ``file`` from ``example``, with a new secret at each place of ``<random>``.

    Raises:
        DeployError: it exists, or cannot be written.

    """
    text = filled(_read(example), new_secret)
    new = file.with_name(f".{file.name}.{secrets.token_hex(6)}.new")
    try:
        # Private from its first byte.
        descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8") as opened:
                opened.write(text)
                opened.flush()
                os.fsync(opened.fileno())
            # Never over a file that exists, for its secrets are in use; and whole, or not at all.
            os.link(new, file)
        finally:
            new.unlink()
    except OSError as error:
        raise DeployError(f"cannot write {file}: {error.strerror}") from error


def _read(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DeployError(f"cannot read {file}: {error}") from error


def new_secret() -> str:
    return secrets.token_hex(_BYTES)
