"""Makes images without an engine, where what BuildKit would make can be proved.

Whatever cannot be proved raises ``Refused``; then an engine makes the image. Values in, values out:
what has to be read, of files and of layers, is read through ``ContentReader``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from msgspec import Struct


class Refused(Exception):  # noqa: N818 - it is an answer, not a fault
    """This image is not made here; the reason is one sentence without a full stop."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class InContext(Struct, frozen=True, kw_only=True):
    """The content of a file of the build context, by its path there."""

    path: str


class InLayer(Struct, frozen=True, kw_only=True):
    """The content of a file that a layer holds under this path."""

    layer: str
    path: str


Content = bytes | InContext | InLayer


class ContentReader(Protocol):
    """Reads what the pure part can only name."""

    def want(self, contents: Sequence[InLayer]) -> None:
        """Say which files of layers will be read, so that each layer is gone through once."""

    def read(self, content: Content) -> bytes: ...
