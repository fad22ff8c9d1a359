"""What was deployed: per stack what runs now and what ran before, rendered whole.

Rendered stacks hold secrets, so the folder is private to its owner.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from builder.core.errors import DeployError
from builder.system.files import replace_file

SCHEMA = 1


class Deployment(Struct, frozen=True, kw_only=True):
    """One stack as it was brought up: of which release, when (RFC 3339), by whom, and all of it.

    ``id`` tells it from all others. It is not ``whole`` if only the registry knows of it, which is
    told no secrets; ``adopted``, if it was made whole again from the files of this machine.
    """

    release: str
    at: str
    host: str
    compose: Mapping[str, Any]
    by: str = ""
    id: str = ""
    whole: bool = True
    adopted: bool = False

    @property
    def images(self) -> dict[str, str]:
        return {name: str(one.get("image")) for name, one in self.compose["services"].items()}


class Records:
    """The deployments of one project, by stack, on the machine from which it is deployed."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def current(self, stack: str) -> Deployment | None:
        return _read(self._file(stack, "current"))

    def previous(self, stack: str) -> Deployment | None:
        return _read(self._file(stack, "previous"))

    def deployed(self, stack: str, now: Deployment) -> None:
        """``now`` runs; what ran until now becomes the previous one."""
        current = self._file(stack, "current")
        before = self.current(stack)
        # To deploy once more what was deployed from elsewhere brings up nothing new.
        again = before is not None and before.adopted and before.images == now.images
        if before is not None and not again:
            self._write(self._file(stack, "previous"), before)
        self._write(current, now)

    def renamed(self, stack: str, release: str) -> None:
        """What runs is in this release, too; it was not touched."""
        now = self.current(stack)
        if now is not None:
            self._write(self._file(stack, "current"), replace(now, release=release))

    def removed(self, stack: str) -> None:
        """Nothing runs; what ran last can be brought back."""
        before = self.current(stack)
        if before is not None:
            self._write(self._file(stack, "previous"), before)
            self._file(stack, "current").unlink()

    def adopted(self, stack: str, current: Deployment | None, previous: Deployment | None) -> None:
        """What somebody else deployed, as far as it is known."""
        for which, one in (("current", current), ("previous", previous)):
            if one is None:
                self._file(stack, which).unlink(missing_ok=True)
            else:
                self._write(self._file(stack, which), one)

    def keep_log(self, stack: str, container: str, lines: list[str]) -> Path:
        """What a container wrote that is about to be removed."""
        file = self._folder / stack / f"{container}.log"
        self._private()
        replace_file(file, "\n".join([*lines, ""]))
        return file

    def _file(self, stack: str, which: str) -> Path:
        return self._folder / stack / f"{which}.json"

    def _private(self) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        self._folder.chmod(0o700)

    def _write(self, file: Path, deployment: Deployment) -> None:
        self._private()
        document = {
            "schema": SCHEMA,
            "release": deployment.release,
            "at": deployment.at,
            "host": deployment.host,
            "by": deployment.by,
            "id": deployment.id,
            "whole": deployment.whole,
            "adopted": deployment.adopted,
            "compose": deployment.compose,
        }
        replace_file(file, json.dumps(document, indent=1) + "\n")


def _read(file: Path) -> Deployment | None:
    try:
        text = file.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    try:
        found = json.loads(text)
        if found["schema"] != SCHEMA:
            raise DeployError(f"{file} was written by another version of ocbuild")
        return Deployment(
            release=str(found["release"]),
            at=str(found["at"]),
            host=str(found["host"]),
            by=str(found.get("by", "")),
            id=str(found.get("id", "")),
            whole=bool(found.get("whole", True)),
            adopted=bool(found.get("adopted", False)),
            compose=dict(found["compose"]),
        )
    except (ValueError, KeyError, TypeError) as error:
        raise DeployError(
            f"{file} is no record of a deployment: {error!r}",
            hint="remove it, and deploy the stack again",
        ) from error
