"""What runs from the start of a ``with`` block to its end: the servers and engines of tests."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing_extensions import Self


class Service(ABC):
    """Started by a ``with`` block and closed by it, also where it could only be half started."""

    @abstractmethod
    def start(self) -> object: ...

    @abstractmethod
    def close(self) -> None: ...

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
