"""Registry clients for tests: a clock that stands still, and no login but what the test gives."""

from __future__ import annotations

import threading
from pathlib import Path

from builder.core.schedule import RetryPolicy
from builder.docker.settings import Login
from builder.http.trust import Trust
from builder.registry.client import Registry
from tests.support.clock import FakeClock

RETRY = RetryPolicy(retries=3, first=2.0, longest=60.0)


def make_client(
    *,
    clock: FakeClock | None = None,
    login: Login | None = None,
    trust: Trust | None = None,
    ca: Path | None = None,
    certificates: Path | None = None,
    cancel: threading.Event | None = None,
) -> Registry:
    """A client that has ``login`` for all registries.

    ``certificates`` is laid out like docker's certs.d.
    """
    folders = () if certificates is None else (certificates,)
    authorities = () if ca is None else (ca,)
    return Registry.connect(
        {},
        clock=clock or FakeClock(),
        retry=RETRY,
        trust=trust or Trust(folders=folders, authorities=authorities),
        logins=lambda _host: login,
        cancel=cancel,
    )
