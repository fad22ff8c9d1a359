"""Connections to one server, straight or by a proxy, each kept for the next request."""

from __future__ import annotations

import base64
import weakref
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from http import HTTPStatus
from typing import TYPE_CHECKING
from urllib.parse import SplitResult, quote, unquote, urlsplit, urlunsplit

from builder.http.connection import BadAddressError, Connection, HttpError, Reply, open_socket

if TYPE_CHECKING:
    import socket
    import ssl

CONNECT_SECONDS = 10.0
_PORTS = {"http": 80, "https": 443}
# What may stand in the path and query of an address, "%" included: it has been quoted once.
_SAFE = "/?%:@!$&'()*+,;=~[]"


class ProxyFailedError(OSError):
    """The proxy cannot be reached, or does not let us through."""


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
        self._kept: deque[Connection] = deque()
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
    ) -> Reply:
        """Send a request and read the head of its reply; ``headers`` have the length of a body.

        Raises:
            OSError: nobody answers, not in time, or not by TLS; of a proxy it is ProxyFailedError.
            HttpError: what answers speaks no HTTP, or the address is none.

        """
        connection = self._idle() or self._connect()
        try:
            reply = connection.send(
                method,
                self._target(url),
                headers={**headers, **self._proof(by_tunnel=False)},
                body=body,
                read_seconds=read_seconds,
            )
        except BaseException:
            connection.close()
            raise
        reply.freed = self.keep
        return reply

    def keep(self, connection: Connection) -> None:
        """Have a connection ready for the next request."""
        if len(self._kept) < self._most:
            self._kept.append(connection)
        else:
            connection.close()

    def close(self) -> None:
        """Close those that are not in use, and keep none from now on."""
        self._most = 0
        _close_all(self._kept)

    def _idle(self) -> Connection | None:
        while True:
            try:
                connection = self._kept.pop()
            except IndexError:
                return None
            if not connection.has_ended:
                return connection
            connection.close()

    def _connect(self) -> Connection:
        host, port = _place(self._authority, _PORTS[self._scheme])
        if self._proxy is None:
            sock = open_socket(host, port, seconds=CONNECT_SECONDS)
        else:
            sock = self._by_proxy(self._proxy, host, port)
        if self._scheme == "https":
            sock = self._secured(sock, host)
        return Connection(sock, _called(host, port, _PORTS[self._scheme]))

    def _secured(self, sock: socket.socket, host: str) -> ssl.SSLSocket:
        assert self._context is not None  # noqa: S101 - it comes with the scheme
        try:
            return self._context.wrap_socket(sock, server_hostname=host)
        except BaseException:
            sock.close()
            raise

    def _by_proxy(self, proxy: SplitResult, host: str, port: int) -> socket.socket:
        if proxy.scheme != "http":
            raise ProxyFailedError(f"{proxy.scheme}:// is no kind of proxy that is known here")
        try:
            with ExitStack() as opened:
                place = _place(proxy.netloc.rpartition("@")[2], _PORTS["http"])
                sock = opened.enter_context(open_socket(*place, seconds=CONNECT_SECONDS))
                if self._scheme == "https":
                    self._open_tunnel(sock, _called(host, port))
                opened.pop_all()
        except (OSError, HttpError) as error:
            raise ProxyFailedError(*error.args) from error
        return sock

    def _open_tunnel(self, sock: socket.socket, place: str) -> None:
        reply = Connection(sock, place).send(
            "CONNECT", place, headers=self._proof(by_tunnel=True), read_seconds=CONNECT_SECONDS
        )
        if reply.status != HTTPStatus.OK:
            raise OSError(f"it answers {reply.status} {reply.reason}".rstrip())

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


def _close_all(kept: deque[Connection]) -> None:
    while kept:
        kept.pop().close()


def _place(authority: str, default: int) -> tuple[str, int]:
    try:
        parts = urlsplit(f"//{authority}")
        host, port = parts.hostname, parts.port or default
    except ValueError as error:
        raise BadAddressError(str(error)) from error
    if not host:
        raise BadAddressError(f"{authority!r} names no host")
    return host, port


def _called(host: str, port: int, usual: int = 0) -> str:
    """A host and its port as HTTP writes them; the usual port need not be said."""
    try:
        name = host if host.isascii() else host.encode("idna").decode()
    except UnicodeError as error:
        raise BadAddressError(str(error)) from error
    name = f"[{name}]" if ":" in name else name
    return name if port == usual else f"{name}:{port}"
