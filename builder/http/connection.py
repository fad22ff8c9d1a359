"""One HTTP/1.1 connection: a request goes out, and its reply comes back, one at a time.

The parser is httptools, which is that of Node.js. The standard library's takes fifteen times as
long over a reply, and is imported in the time in which an image is pushed.
"""

from __future__ import annotations

import re
import select
import socket
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from http import HTTPStatus
from typing import cast

from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser

_BLOCK = 1 << 17
_LARGEST_HEAD = 1 << 18
_LONGEST_LINE = 100
_NO_BODY = ("HEAD", "CONNECT")
_WANT_LENGTH = ("POST", "PUT", "PATCH")
# What would end a line of the request, or a word of its first one.
_CONTROL = re.compile(r"[\x00-\x20\x7f]")
_LINE_END = re.compile(r"[\0\r\n]")


class HttpError(Exception):
    """What answers speaks no HTTP, or stops in the middle of it."""


class BadAddressError(HttpError):
    """The address is none."""


class Connection:
    """``host`` is what the server is called by those who ask it, with a port if it needs one."""

    def __init__(self, sock: socket.socket, host: str) -> None:
        self.sock = sock
        self._host = host

    def send(
        self,
        method: str,
        target: str,
        *,
        headers: Mapping[str, str],
        body: Iterator[bytes] | None = None,
        read_seconds: float,
    ) -> Reply:
        """Send a request and read the head of its reply; ``headers`` have the length of a body.

        Raises:
            OSError: the connection broke, or nothing came in time.
            HttpError: what came is no HTTP, or the address is none.

        """
        head = _head(method, target, {"Host": self._host, **headers}, has_body=body is not None)
        self.sock.settimeout(read_seconds)
        refused = False
        try:
            # A small body goes with the head, for each piece by itself is one more to wait for.
            self.sock.sendall(head + next(body, b"") if body is not None else head)
            for block in body or ():
                self.sock.sendall(block)
        except BrokenPipeError:
            refused = True  # it did not want the body, and mostly has said why
        return Reply(self, method, last=refused)

    @property
    def has_ended(self) -> bool:
        """Whether the server has closed it meanwhile; a server that waits for us says nothing."""
        asked = select.poll()
        asked.register(self.sock, select.POLLIN)
        return bool(asked.poll(0))

    def close(self) -> None:
        self.sock.close()


class Reply:
    """The head of a reply, and a body that is still to be read.

    ``headers`` has the values of each name, which is in lower case; ``reason`` is what follows the
    status. ``freed`` is called with the connection once it can be used again.
    """

    def __init__(self, connection: Connection, method: str, *, last: bool) -> None:
        self.freed: Callable[[Connection], None] = Connection.close
        self._connection: Connection | None = connection
        self._last = last
        self._arrived = _Arrived(bodiless=method in _NO_BODY)
        while not self._arrived.has_head:
            self._receive(connection)
        self.status = self._arrived.status
        self.reason = self._arrived.reason
        self.headers = self._arrived.headers

    def header(self, name: str) -> str | None:
        """The first value of a header."""
        values = self.headers.get(name.lower())
        return values[0] if values else None

    def read(self, size: int) -> bytes:
        """At most ``size`` bytes, none at the end; the connection is free again then.

        Raises:
            OSError: the connection broke.
            HttpError: the body ended too early, or is none.

        """
        blocks = self._arrived.blocks
        while not blocks and not self._arrived.is_whole:
            if self._connection is None:
                raise HttpError("the reply was closed")
            self._receive(self._connection)
        self._free()
        if not blocks or not size:
            return b""
        block = blocks.popleft()
        if len(block) > size:
            whole = memoryview(block)
            blocks.appendleft(whole[size:])
            block = whole[:size]
        return bytes(block)

    def read_all(self) -> bytes:
        """All that is left of the body; raises as ``read`` does."""
        return b"".join(iter(lambda: self.read(_BLOCK), b""))

    def close(self) -> None:
        """Give up what was not read, and the connection with it unless all of it has come."""
        self._free()
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def _free(self) -> None:
        if self._arrived.is_whole and self._connection is not None:
            connection, self._connection = self._connection, None
            if self._arrived.can_stay and not self._last:
                self.freed(connection)
            else:
                connection.close()

    def _receive(self, connection: Connection) -> None:
        data = connection.sock.recv(_BLOCK)
        if data:
            self._arrived.feed(data)
        else:
            self._arrived.end()


class _Arrived:
    """What has come of one reply, as the parser tells it by the names that it wants."""

    def __init__(self, *, bodiless: bool) -> None:
        self.status = 0
        self.reason = ""
        self.headers: dict[str, list[str]] = {}
        self.blocks: deque[bytes | memoryview] = deque()
        self.has_head = False
        self.is_whole = False
        self.can_stay = False
        self._bodiless = bodiless
        self._received = 0
        self._parser: HttpResponseParser | None = HttpResponseParser(self)

    def feed(self, data: bytes) -> None:
        try:
            self._still().feed_data(data)
        except (HttpParserError, HttpParserUpgrade) as error:
            if not self.is_whole:  # what follows a reply is nobody's
                raise HttpError(self._told(error, data)) from error
            self.can_stay = False
        if self.is_whole:
            self._parser = None  # it knows us, too
        self._received += len(data)
        if not self.has_head and self._received > _LARGEST_HEAD:
            raise HttpError("it has no end of headers")

    def end(self) -> None:
        """The server has closed the connection."""
        if not self.has_head:
            raise HttpError("the server closed the connection without an answer")
        if "content-length" in self.headers or "transfer-encoding" in self.headers:
            raise HttpError("the server closed the connection in the middle of its answer")
        self.is_whole, self.can_stay = True, False

    def _still(self) -> HttpResponseParser:
        if self._parser is None:
            raise HttpError("the reply is at its end")
        return self._parser

    def _told(self, error: Exception, data: bytes) -> str:
        if self.has_head:
            return f"it breaks off HTTP: {error}"
        line = data[:_LONGEST_LINE].partition(b"\n")[0].decode("latin-1").strip()
        return f"it does not speak HTTP, but says {line!r}"

    # -- called by the parser --------------------------------------------------------------------

    def on_message_begin(self) -> None:
        if self.is_whole:
            self.can_stay = False

    def on_status(self, reason: bytes) -> None:
        if not self.is_whole:
            self.reason = reason.decode("latin-1")

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self.is_whole:
            values = self.headers.setdefault(name.decode("latin-1").lower(), [])
            values.append(value.decode("latin-1"))

    def on_headers_complete(self) -> None:
        parser = self._still()
        status = parser.get_status_code()
        if self.is_whole or status < HTTPStatus.OK:
            return
        self.status = status
        self.has_head = True
        if self._bodiless:
            # The parser does not know what was asked, and waits for a body as long as is said.
            self.is_whole = True
            closes = "close" in self.headers.get("connection", [""])[0].lower()
            self.can_stay = parser.get_http_version() == "1.1" and not closes
        else:
            self.can_stay = parser.should_keep_alive()

    def on_body(self, block: bytes) -> None:
        if self.is_whole:
            self.can_stay = False
        else:
            self.blocks.append(block)

    def on_message_complete(self) -> None:
        if self.has_head:
            self.is_whole = True
        else:
            self.headers.clear()  # they were of a reply that only says that one is to come


def open_socket(host: str, port: int, *, seconds: float) -> socket.socket:
    """A connection to a server by TCP.

    Raises:
        OSError: nobody answers, or not in time.
        BadAddressError: there can be no such host.

    """
    # As bytes a plain name is spared the codec for names of other scripts, which takes long to
    # be imported.
    name = cast("str", host.encode("ascii")) if host.isascii() else host
    try:
        sock = socket.create_connection((name, port), seconds)
    except UnicodeError as error:
        raise BadAddressError(str(error)) from error
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock


def _head(method: str, target: str, headers: Mapping[str, str], *, has_body: bool) -> bytes:
    if _CONTROL.search(target):
        raise BadAddressError(f"{target!r} has characters that no address can have")
    lines = [f"{method} {target} HTTP/1.1", *(f"{name}: {headers[name]}" for name in headers)]
    if method in _WANT_LENGTH and not has_body:
        lines.append("Content-Length: 0")
    if bad := next((line for line in lines if _LINE_END.search(line)), None):
        raise HttpError(f"{bad.partition(':')[0]} has characters that no header can have")
    return "\r\n".join([*lines, "", ""]).encode("latin-1")
