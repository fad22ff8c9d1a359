"""A server that says exactly the bytes that it was given, whatever is asked."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterable, Iterator

Pieces = Iterable[bytes | float]
"""What is sent in turn; a number is a pause of so many seconds."""


class RawServer:
    """Says ``replies`` in turn, one for each request, and then nothing more; an empty one hangs up.

    ``asked`` has the heads of the requests with what came along; ``connections`` counts. Unless it
    ``stays``, a connection ends with its reply.
    """

    def __init__(self, *replies: Pieces, stays: bool = True) -> None:
        self._replies = list(replies)
        self._stays = stays
        self.asked: list[bytes] = []
        self.connections = 0
        self._ended = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"

    @property
    def url(self) -> str:
        return f"http://{self.address}/v2/"

    def serve(self) -> None:
        while True:
            try:
                here, _ = self._listener.accept()
            except OSError:
                return
            here.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.connections += 1
            threading.Thread(target=self._serve, args=(here,), daemon=True).start()

    def close(self) -> None:
        self._ended.set()
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _serve(self, here: socket.socket) -> None:
        with here, contextlib.suppress(OSError):
            while self._replies:
                asked = b""
                while b"\r\n\r\n" not in asked:
                    block = here.recv(1 << 16)
                    if not block:
                        return
                    asked += block
                self.asked.append(asked)
                pieces = list(self._replies.pop(0))
                for piece in pieces:
                    if isinstance(piece, float):
                        self._ended.wait(piece)
                    else:
                        here.sendall(piece)
                if not self._stays or not pieces:
                    here.shutdown(socket.SHUT_WR)
                    here.recv(1 << 16)
                    return
            self._ended.wait(30)


@contextlib.contextmanager
def raw_server(*replies: Pieces, stays: bool = True) -> Iterator[RawServer]:
    server = RawServer(*replies, stays=stays)
    thread = threading.Thread(target=server.serve)
    thread.start()
    try:
        yield server
    finally:
        server.close()
        thread.join()
