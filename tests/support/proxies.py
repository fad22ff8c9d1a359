"""Proxies on the loopback: tunnels by CONNECT, with or without TLS, and SOCKS 5."""

from __future__ import annotations

import contextlib
import select
import socket
import socketserver
import ssl
import struct
import threading
from collections.abc import Iterator

_CONNECTED = b"\x05\x00\x00\x01\x7f\x00\x00\x01\x00\x00"
_NAME = 3


class Proxy(socketserver.ThreadingTCPServer):
    """Leads to ``target``, wherever it is asked to; or says ``refusal`` instead.

    ``asked`` has what it was asked: the head of a CONNECT, or host:port of SOCKS.
    """

    daemon_threads = True
    block_on_close = False

    def __init__(
        self, target: str, *, socks: bool, refusal: str, context: ssl.SSLContext | None
    ) -> None:
        super().__init__(("127.0.0.1", 0), _Socks if socks else _Tunnel)
        self.target = target
        self.refusal = refusal
        self.asked: list[bytes] = []
        if context is not None:
            self.socket = context.wrap_socket(self.socket, server_side=True)

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.server_address[1]}"

    def lead(self, here: socket.socket) -> None:
        host, _, port = self.target.rpartition(":")
        with socket.create_connection((host, int(port))) as there:
            ends = {here: there, there: here}
            while True:
                for end in _readable(here, there):
                    data = end.recv(1 << 16)
                    if not data:
                        return
                    ends[end].sendall(data)

    def handle_error(self, request: object, client_address: object) -> None:
        """Broken connections are what some tests are about."""


def _readable(here: socket.socket, there: socket.socket) -> list[socket.socket]:
    if isinstance(here, ssl.SSLSocket) and here.pending():
        return [here]
    return list(select.select([here, there], [], [])[0])


class _Tunnel(socketserver.StreamRequestHandler):
    server: Proxy
    rbufsize = 0

    def handle(self) -> None:
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            line = self.rfile.readline()
            if not line:
                return
            head += line
        self.server.asked.append(head)
        if self.server.refusal:
            self.wfile.write(f"{self.server.refusal}\r\n\r\n".encode())
            return
        self.wfile.write(b"HTTP/1.1 200 OK\r\nX-Of: the proxy\r\n\r\n")
        self.server.lead(self.connection)


class _Socks(socketserver.StreamRequestHandler):
    server: Proxy
    rbufsize = 0

    def handle(self) -> None:
        _, count = self.rfile.read(2)
        self.rfile.read(count)
        self.wfile.write(b"\x05\x00")
        _, _, _, kind = self.rfile.read(4)
        size = self.rfile.read(1)[0] if kind == _NAME else 4
        host = self.rfile.read(size)
        (port,) = struct.unpack(">H", self.rfile.read(2))
        self.server.asked.append(host + b":%d" % port)
        self.wfile.write(_CONNECTED)
        self.server.lead(self.connection)


@contextlib.contextmanager
def proxy_to(
    target: str,
    *,
    socks: bool = False,
    refusal: str = "",
    context: ssl.SSLContext | None = None,
) -> Iterator[Proxy]:
    with Proxy(target, socks=socks, refusal=refusal, context=context) as proxy:
        thread = threading.Thread(target=proxy.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield proxy
        finally:
            proxy.shutdown()
            thread.join()
