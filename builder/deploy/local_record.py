"""What this machine keeps of each stack: what runs now and what ran before, rendered whole.

Rendered stacks hold secrets, so the folder is private to its owner.
"""

from __future__ import annotations

from pathlib import Path

from builder.core.deploy.records import Deployment, History, SharedRecord
from builder.core.deploy.stack import Compose
from builder.core.errors import DeployError
from builder.system.files import replace_file


class LocalRecords:
    """The deployments of one project, by stack, on the machine from which it is deployed."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def history(self, stack: str) -> History:
        """What runs of a stack and what ran before.

        Raises:
            DeployError: a file of it holds something else.

        """
        return History(current=self.current(stack), previous=self.previous(stack))

    def current(self, stack: str) -> Deployment | None:
        """What runs; raises as ``history`` does."""
        return _read(self._file(stack, "current"))

    def previous(self, stack: str) -> Deployment | None:
        """What ran before; raises as ``history`` does."""
        return _read(self._file(stack, "previous"))

    def deployed(self, stack: str, now: Deployment) -> None:
        """Note that ``now`` runs."""
        history = self.history(stack)
        self._keep(stack, history, history.deployed(now))

    def renamed(self, stack: str, release: str) -> None:
        """Note that what runs is in this release, too."""
        history = self.history(stack)
        self._keep(stack, history, history.renamed(release))

    def removed(self, stack: str) -> None:
        """Note that nothing runs."""
        history = self.history(stack)
        self._keep(stack, history, history.removed())

    def informed(self, stack: str, record: SharedRecord) -> None:
        """Note what the shared record says, where that is newer."""
        history = self.history(stack)
        self._keep(stack, history, history.informed(record))

    def completed(self, stack: str, rendered: Compose) -> None:
        """Note what the compose file of today tells of what another machine deployed."""
        history = self.history(stack)
        self._keep(stack, history, history.completed(rendered))

    def keep_log(self, stack: str, container: str, lines: list[str]) -> Path:
        """Write what a container wrote that is about to be removed; returns the file."""
        file = self._folder / stack / f"{container}.log"
        self._make_private()
        replace_file(file, "\n".join([*lines, ""]))
        return file

    def _keep(self, stack: str, before: History, now: History) -> None:
        """Write what differs; what ran before first, so that it is lost at no moment."""
        for which, old, new in (
            ("previous", before.previous, now.previous),
            ("current", before.current, now.current),
        ):
            file = self._file(stack, which)
            if new is None:
                file.unlink(missing_ok=True)
            elif new != old:
                self._make_private()
                replace_file(file, new.as_bytes().decode())

    def _file(self, stack: str, which: str) -> Path:
        return self._folder / stack / f"{which}.json"

    def _make_private(self) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        self._folder.chmod(0o700)


def _read(file: Path) -> Deployment | None:
    try:
        data = file.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise DeployError(f"{file} cannot be read: {error.strerror}") from error
    return Deployment.from_bytes(data, str(file))
