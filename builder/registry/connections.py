"""Connections to one server, straight or by a proxy, each kept for the next request.

The standard library's HTTP is all that a registry asks for, and it is there in a third of the time
that urllib3 takes to be imported, which is as long as an image takes to be pushed.
"""

from __future__ import annotations

import base64
import select
import ssl
import weakref
from collections import deque
from collections.abc import Iterator, Mapping
from http.client import (
    HTTPConnection,
    HTTPException,
    HTTPMessage,
    HTTPResponse,
    HTTPSConnection,
    IncompleteRead,
    InvalidURL,
)
from urllib.parse import quote, unquote, urlsplit, urlunsplit

CONNECT_SECONDS = 10.0
_PORTS = {"http": 80, "https": 443}
# What may stand in the path and query of an address, "%" included: it has been quoted once.
_SAFE = "/?%:@!$&'()*+,;=~[]"


class ProxyFailedError(OSError):
    """The proxy cannot be reached, or does not let us through."""


class Response:
    """The head of a reply, and a body that is still to be read."""

    def __init__(
        self, response: HTTPResponse, connection: HTTPConnection, home: Connections
    ) -> None:
        self._response = response
        self._connection: HTTPConnection | None = connection
        self._home = home
        self.status = response.status
        self.headers: HTTPMessage = response.headers

    def read(self, size: int) -> bytes:
        """At most ``size`` bytes, none at the end; the connection is free again then.

        Raises:
            OSError: the connection broke.
            HTTPException: the body ended too early, or is none.

        """
        block = self._response.read(size)
        if not block and size and self._response.length:
            raise IncompleteRead(block, self._response.length)
        if self._response.isclosed() and self._connection is not None:
            connection, self._connection = self._connection, None
            if self._response.will_close:
                connection.close()
            else:
                self._home.keep(connection)
        return block

    def close(self) -> None:
        """Give up what was not read, and the connection with it."""
        self._response.close()
        if self._connection is not None:
            self._connection.close()
            self._connection = None


class Connections:
    """For many threads, which never wait for each other's: at most ``most`` are kept."""

    def __init__(
        self,
        scheme: str,
        authority: str,
        *,
        proxy: str | None,
        context: ssl.SSLContext | None,
        most: int,
    ) -> None:
        """``context`` is for a server that is spoken to by TLS; ``proxy`` is its whole address."""
        self._scheme = scheme
        self._authority = authority
        self._proxy = None if proxy is None else urlsplit(proxy)
        self._context = context
        self._most = most
        self._kept: deque[HTTPConnection] = deque()
        # Who forgets to close them has ended, and they end with it.
        weakref.finalize(self, _close_all, self._kept)

    def send(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str],
        body: Iterator[bytes] | None,
        read_seconds: float,
    ) -> Response:
        """Send a request and read the head of its reply; ``headers`` have the length of a body.

        Raises:
            OSError: nobody answers, not in time, or not by TLS; of a proxy it is ProxyFailedError.
            HTTPException: what answers speaks no HTTP, or the address is none.

        """
        connection = self._idle() or self._connect()
        try:
            connection.sock.settimeout(read_seconds)
            refused = False
            try:
                connection.request(
                    method,
                    self._target(url),
                    body=body,
                    headers={**headers, **self._proof(by_tunnel=False)},
                )
            except BrokenPipeError:
                refused = True  # it did not want the body, and mostly has said why
            response = connection.getresponse()
            response.will_close |= refused
        except BaseException:
            connection.close()
            raise
        return Response(response, connection, self)

    def keep(self, connection: HTTPConnection) -> None:
        """Have a connection ready for the next request."""
        if len(self._kept) < self._most:
            self._kept.append(connection)
        else:
            connection.close()

    def close(self) -> None:
        """Close those that are not in use, and keep none from now on."""
        self._most = 0
        _close_all(self._kept)

    def _idle(self) -> HTTPConnection | None:
        while True:
            try:
                connection = self._kept.pop()
            except IndexError:
                return None
            if not _has_ended(connection):
                return connection
            connection.close()

    def _connect(self) -> HTTPConnection:
        host, port = _place(self._authority, _PORTS[self._scheme])
        if self._proxy is not None:
            return self._by_proxy(host, port)
        connection = self._new(host, port)
        _open(connection)
        return connection

    def _new(self, host: str, port: int) -> HTTPConnection:
        if self._scheme == "https":
            return HTTPSConnection(host, port, timeout=CONNECT_SECONDS, context=self._context)
        return HTTPConnection(host, port, timeout=CONNECT_SECONDS)

    def _by_proxy(self, host: str, port: int) -> HTTPConnection:
        assert self._proxy is not None  # noqa: S101 - the caller has looked
        if self._proxy.scheme != "http":
            raise ProxyFailedError(
                f"{self._proxy.scheme}:// is no kind of proxy that is known here"
            )
        try:
            connection = self._new(*_place(self._proxy.netloc.rpartition("@")[2], _PORTS["http"]))
            if self._scheme == "https":
                connection.set_tunnel(host, port, dict(self._proof(by_tunnel=True)))
            _open(connection)
        except ssl.SSLError:
            raise  # of the server: by then the proxy has let us through
        except (OSError, HTTPException) as error:
            raise ProxyFailedError(*error.args) from error
        return connection

    def _proof(self, *, by_tunnel: bool) -> Mapping[str, str]:
        """What lets us use the proxy; it goes to nobody else."""
        proxy = self._proxy
        if proxy is None or proxy.username is None or by_tunnel != (self._scheme == "https"):
            return {}
        login = f"{unquote(proxy.username)}:{unquote(proxy.password or '')}"
        return {"Proxy-Authorization": f"Basic {base64.b64encode(login.encode()).decode()}"}

    def _target(self, url: str) -> str:
        """What a server wants is the path, what a proxy does is the whole address."""
        parts = urlsplit(url)
        path = urlunsplit(("", "", parts.path or "/", parts.query, ""))
        if not path.isascii() or " " in path:
            path = quote(path, safe=_SAFE)
        if self._proxy is None or self._scheme == "https":
            return path
        return f"{self._scheme}://{self._authority}{path}"


def _close_all(kept: deque[HTTPConnection]) -> None:
    while kept:
        kept.pop().close()


def _place(authority: str, default: int) -> tuple[str, int]:
    try:
        parts = urlsplit(f"//{authority}")
        host, port = parts.hostname, parts.port or default
    except ValueError as error:
        raise InvalidURL(str(error)) from error
    if not host:
        raise InvalidURL(f"{authority!r} names no host")
    return host, port


def _open(connection: HTTPConnection) -> None:
    try:
        connection.connect()
    except UnicodeError as error:
        raise InvalidURL(str(error)) from error
    except BaseException:
        connection.close()
        raise


def _has_ended(connection: HTTPConnection) -> bool:
    """Whether the server has closed it meanwhile; a server that waits for us says nothing."""
    asked = select.poll()
    asked.register(connection.sock, select.POLLIN)
    return bool(asked.poll(0))
