"""Breaks off what an engine is asked for, at any moment of a run."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING

from builder.core.errors import InterruptedRunError

if TYPE_CHECKING:
    from typing_extensions import Self

# A threading.Event cannot be waited for together with a socket, so it is looked at this often.
TICK_SECONDS = 0.1


class Watch:
    """Calls ``stop`` once when ``cancel`` is set or ``timeout`` seconds have gone by.

    To be used as a context manager around what may have to be stopped; ``check`` afterwards says
    whether it was.
    """

    def __init__(
        self, stop: Callable[[], None], *, cancel: threading.Event, timeout: float | None
    ) -> None:
        self._stop = stop
        self._cancel = cancel
        self._deadline = None if timeout is None else time.monotonic() + timeout
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._run, name="watch", daemon=True)
        self._cancelled = False
        self._timed_out = False

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._done.set()
        self._thread.join()

    @property
    def stopped(self) -> bool:
        return self._cancelled or self._timed_out

    def check(self, doing: str, *, failed: bool = False) -> None:
        """Raise what the stop means.

        ``failed``: something went wrong, so that a cancel is taken for the cause even if it was not
        acted upon yet.

        Raises:
            InterruptedRunError: if it was cancelled.
            TimeoutError: if the time was up.

        """
        if self._cancelled or (failed and self._cancel.is_set()):
            raise InterruptedRunError(f"{doing}: interrupted")
        if self._timed_out:
            raise TimeoutError(doing)

    def _run(self) -> None:
        while not self._done.wait(TICK_SECONDS):
            self._cancelled = self._cancel.is_set()
            late = self._deadline is not None and time.monotonic() >= self._deadline
            self._timed_out = late and not self._cancelled
            if self.stopped:
                self._stop()
                return
