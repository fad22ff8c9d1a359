"""Names lent to images in the engine for the time of a build, for builders without named contexts.

A name that the engine does not know is given to the image that it shall mean, and taken away when
the last build that needs it has ended. A name that means something else already is never touched.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager

from msgspec import Struct

from builder.core.bases import familiar, image_of
from builder.core.engine.answers import LocalImage
from builder.core.errors import BuildError
from builder.docker.daemon import Daemon


class _Loan(Struct):
    image_id: str
    users: int = 0


class BorrowedNames:
    """The loans of one process in one engine."""

    def __init__(self, daemon: Daemon) -> None:
        self._daemon = daemon
        self._lock = threading.Lock()
        self._loans: dict[str, _Loan] = {}

    def refusal(self, contexts: Mapping[str, str]) -> str | None:
        """Why these names cannot be made to mean these images.

        None also where that is not known yet, because an image still has to be pulled.
        """
        for name, reference in _images(contexts):
            wanted = self._daemon.inspect(reference)
            if wanted is None:
                continue
            with self._lock:
                obstacle = self._obstacle(name, wanted)
            if obstacle is not None:
                return obstacle
        return None

    @contextmanager
    def held(self, contexts: Mapping[str, str]) -> Iterator[None]:
        """As long as this lasts, each name means its image.

        Raises:
            BuildError: if a name means another image, or an image cannot be had.

        """
        with ExitStack() as loans:
            for name, reference in _images(contexts):
                wanted = self._fetched(reference)
                if self._take(name, reference, wanted):
                    loans.callback(self._give_back, name)
            yield

    def _fetched(self, reference: str) -> LocalImage:
        image = self._daemon.inspect(reference)
        if image is None:
            self._daemon.pull(reference)
            image = self._daemon.inspect(reference)
        if image is None:
            raise BuildError(f"{reference} was pulled, but the engine does not have it")
        return image

    def _take(self, name: str, reference: str, wanted: LocalImage) -> bool:
        """Whether there is something to give back."""
        with self._lock:
            obstacle = self._obstacle(name, wanted)
            if obstacle is not None:
                raise BuildError(obstacle)
            if name not in self._loans:
                if self._daemon.inspect(name) is not None:
                    return False
                self._daemon.tag(reference, name)
                self._loans[name] = _Loan(wanted.id)
            self._loans[name].users += 1
            return True

    def _give_back(self, name: str) -> None:
        with self._lock:
            loan = self._loans[name]
            loan.users -= 1
            if loan.users:
                return
            del self._loans[name]
            current = self._daemon.inspect(name)
            # Somebody else may have moved it in the meantime; then it is theirs.
            if current is not None and current.id == loan.image_id:
                self._daemon.untag(name)

    def _obstacle(self, name: str, wanted: LocalImage) -> str | None:
        current = self._daemon.inspect(name)
        if current is None:
            if "@" in name:
                return f'"{name}" cannot be made to mean {wanted.id}: a digest cannot be given away'
            return None
        if current.id == wanted.id:
            return None
        return f'"{name}" means another image in the engine than it shall mean here'


def _images(contexts: Mapping[str, str]) -> list[tuple[str, str]]:
    """Names in the form that two spellings share, with the image that each shall mean."""
    found = {familiar(name): image_of(value) for name, value in contexts.items()}
    return sorted((name, image) for name, image in found.items() if image is not None)
