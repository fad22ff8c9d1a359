"""Passes TCP connections on, so that what listens on the loopback is reached at another address."""

from __future__ import annotations

import contextlib
import select
import socket
import ssl
import threading

from tests.support.service import Service

_BLOCK = 1 << 18


class Relay(Service):
    """Listens at a free port of ``host`` and speaks for ``target`` (host:port, or a path) there.

    ``context``: whoever connects has to speak TLS.
    """

    def __init__(self, host: str, target: str, *, context: ssl.SSLContext | None = None) -> None:
        self._target = target
        self._context = context
        self._listener = socket.create_server((host, 0), backlog=128)
        self.address = f"{host}:{self._listener.getsockname()[1]}"
        self._thread = threading.Thread(target=self._accept, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        # A blocked accept is woken by the one, and does not see the other.
        self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                here, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(here,), daemon=True).start()

    def _serve(self, here: socket.socket) -> None:
        with here, contextlib.suppress(OSError), _connected(self._target) as there:
            if self._context is not None:
                with self._context.wrap_socket(here, server_side=True) as secure:
                    _exchange(secure, there)
                return
            back = threading.Thread(target=_pass_on, args=(there, here), daemon=True)
            back.start()
            _pass_on(here, there)
            back.join()


def _exchange(secure: ssl.SSLSocket, plain: socket.socket) -> None:
    """Pass on in both directions by one thread, for two must not use one connection of TLS."""
    while True:
        readable = [secure] if secure.pending() else select.select([secure, plain], [], [])[0]
        for source in readable:
            block = source.recv(_BLOCK)
            if not block:
                return
            (plain if source is secure else secure).sendall(block)


def _connected(target: str) -> socket.socket:
    if target.startswith("/"):
        connection = socket.socket(socket.AF_UNIX)
        connection.connect(target)
        return connection
    name, _, port = target.rpartition(":")
    return socket.create_connection((name, int(port)))


def _pass_on(source: socket.socket, sink: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while block := source.recv(_BLOCK):
            sink.sendall(block)
        sink.shutdown(socket.SHUT_WR)
