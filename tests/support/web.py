"""A small HTTP server in this process, for what a real registry cannot be made to say."""

from __future__ import annotations

import socket
import ssl
import struct
import threading
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

from msgspec import Struct, field

from tests.support.service import Service

_LINGER_NOT = struct.pack("ii", 1, 0)


class Asked(Struct, frozen=True, kw_only=True):
    """One request as it came; the names of ``headers`` are in lower case."""

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def path(self) -> str:
        return urlsplit(self.target).path

    @property
    def query(self) -> dict[str, list[str]]:
        return parse_qs(urlsplit(self.target).query)


class Say(Struct, frozen=True, kw_only=True):
    """A reply; ``cut`` ends the connection after so many bytes of the body, 0 before any."""

    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    cut: int | None = None


RESET = Say(status=0)
"""Break the connection instead of answering."""


def in_turn(*replies: Say) -> Callable[[Asked], Say]:
    """Each reply once, and then the last one for ever."""
    left = list(replies)
    return lambda _asked: left.pop(0) if len(left) > 1 else left[0]


class Web(Service):
    """Answers each request by ``answer``; ``asked`` has all of them in order.

    ``connections`` is how many were opened for them.
    """

    def __init__(
        self, answer: Callable[[Asked], Say], *, context: ssl.SSLContext | None = None
    ) -> None:
        self.asked: list[Asked] = []
        self._server = _Server(("127.0.0.1", 0), _handler(answer, self.asked))
        if context is not None:
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self.address = f"127.0.0.1:{self._server.server_address[1]}"
        # The default looks for the end only twice a second.
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))

    @property
    def connections(self) -> int:
        return self._server.connections

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


class _Server(ThreadingHTTPServer):
    # Kept connections must not keep a test from ending.
    daemon_threads = True
    block_on_close = False
    connections = 0

    def get_request(self) -> tuple[socket.socket, object]:
        self.connections += 1
        return super().get_request()

    def handle_error(self, request: object, client_address: object) -> None:
        """Broken connections are what some tests are about."""


def _handler(answer: Callable[[Asked], Say], asked: list[Asked]) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _any(self) -> None:
            request = Asked(
                method=self.command,
                target=self.path,
                headers={name.lower(): value for name, value in self.headers.items()},
                body=self.rfile.read(int(self.headers.get("Content-Length") or 0)),
            )
            asked.append(request)
            self._say(answer(request))

        def _say(self, reply: Say) -> None:
            if reply is RESET:
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_NOT)
                # The files hold the socket open, too.
                self.wfile.close()
                self.rfile.close()
                self.connection.close()
                self.close_connection = True
                return
            self.send_response(reply.status)
            for name, value in {"Content-Length": str(len(reply.body)), **reply.headers}.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(reply.body[: reply.cut])
            if reply.cut is not None:
                self.close_connection = True

        do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = _any  # noqa: N815 - the base's names

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - inherited name
            pass

    return Handler
