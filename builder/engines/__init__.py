"""What makes an image: the Engine protocol, and those that keep it."""

from __future__ import annotations

import threading
from typing import Protocol

from builder.core.engine.request import (
    BuildRequest,
    BuildResult,
    SecretSource,
)
from builder.core.engine.solve import Sink

__all__ = [
    "BuildRequest",
    "BuildResult",
    "Engine",
    "SecretSource",
]


class Engine(Protocol):
    """Makes images.

    ``refusal`` says in one sentence why this engine cannot make the image, or None. An engine that
    lacks a feature refuses; it never degrades.

    ``build`` raises BuildFailedError of core.build.failure for a failing instruction or a fault,
    with ``transient`` set where a retry can help, and InterruptedRunError once ``cancel`` was set.
    """

    @property
    def name(self) -> str: ...

    def refusal(self, request: BuildRequest) -> str | None: ...

    def build(self, request: BuildRequest, sink: Sink, cancel: threading.Event) -> BuildResult: ...
