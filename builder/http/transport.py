"""Kept connections to registries: one exchange at a time, counted, with its faults translated."""

from __future__ import annotations

import functools
import threading
from collections.abc import Iterator, Mapping
from typing import IO, TYPE_CHECKING, cast
from urllib.parse import urlsplit

from msgspec import Struct

from builder import __version__
from builder.http.connection import HttpError, Reply
from builder.http.pool import Connections
from builder.http.proxies import proxy_for
from builder.http.trust import Trust
from builder.registry.content import Content
from builder.registry.faults import ProtocolError, UnreachableError, translated

if TYPE_CHECKING:
    from typing_extensions import Self

READ_SECONDS = 60.0
_BLOCK = 1 << 17


class Traffic(Struct, frozen=True, kw_only=True):
    """What went over the wire so far; ``sent`` and ``received`` are bytes of bodies."""

    requests: int = 0
    retries: int = 0
    sent: int = 0
    received: int = 0


class Meter:
    """Counts for all threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._requests = self._retries = self._sent = self._received = 0

    @property
    def traffic(self) -> Traffic:
        with self._lock:
            return Traffic(
                requests=self._requests,
                retries=self._retries,
                sent=self._sent,
                received=self._received,
            )

    def count(
        self, *, requests: int = 0, retries: int = 0, sent: int = 0, received: int = 0
    ) -> None:
        with self._lock:
            self._requests += requests
            self._retries += retries
            self._sent += sent
            self._received += received


class Exchange(Struct, frozen=True, kw_only=True):
    """One HTTP request; ``what`` follows "cannot" in messages about it."""

    method: str
    url: str
    what: str
    headers: Mapping[str, str]
    body: Content | None = None
    read_seconds: float = READ_SECONDS

    @property
    def authority(self) -> str:
        return urlsplit(self.url).netloc.rpartition("@")[2]


class Answer:
    """A reply whose body is still to be read; it holds its connection until it is closed."""

    def __init__(self, response: Reply, exchange: Exchange, meter: Meter) -> None:
        self._response = response
        self._exchange = exchange
        self._meter = meter
        self.status = response.status
        self.url = exchange.url

    def header(self, name: str) -> str | None:
        return self._response.header(name)

    def headers(self, name: str) -> list[str]:
        """All values of a header that may be there more than once."""
        return self._response.headers.get(name.lower(), [])

    def read(self, size: int) -> bytes:
        """At most ``size`` bytes; none at the end."""
        try:
            block = self._response.read(size)
        except (OSError, HttpError) as error:
            raise translated(error, self._exchange.what, self._exchange.authority) from error
        self._meter.count(received=len(block))
        return block

    def read_all(self, limit: int) -> bytes:
        """The whole body; with its last byte the connection is free again.

        Raises:
            ProtocolError: if it is longer than ``limit``.

        """
        blocks, left = [], limit
        with self:
            while block := self.read(min(left + 1, _BLOCK)):
                blocks.append(block)
                left -= len(block)
                if left < 0:
                    exchange = self._exchange
                    raise ProtocolError(
                        f"cannot {exchange.what}: {exchange.authority} sends more than {limit}"
                        " bytes where so much cannot be"
                    )
        return b"".join(blocks)

    def close(self) -> None:
        """Give up what was not read; its connection cannot be used again."""
        self._response.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()  # after a body that was read to its end nothing is left to close


class Transport:
    """The connections to all registries: up to ``connections`` are kept for each of them."""

    def __init__(self, trust: Trust, environ: Mapping[str, str], *, connections: int) -> None:
        self.trust = trust
        self.meter = Meter()
        self._environ = environ
        self._connections = connections
        self._lock = threading.Lock()
        self._pools: dict[tuple[str, str], Connections] = {}

    def open(self, exchange: Exchange) -> Answer:
        """Send a request and read the head of its reply, whatever its status is.

        Raises:
            UnreachableError: nobody answered.
            TlsError: the certificate is not trusted.
            ProtocolError: the address may not be spoken to by plain HTTP.

        """
        if not self.trust.allows(exchange.url):
            raise ProtocolError(
                f"cannot {exchange.what}: {exchange.authority} would have to be spoken to without"
                " TLS, which is allowed for this machine only",
                hint=f"name {exchange.authority} in [publish] plain-http if that is meant",
            )
        self.meter.count(requests=1)
        try:
            response = self._send(exchange)
        except (OSError, HttpError) as error:
            raise translated(error, exchange.what, exchange.authority) from error
        return Answer(response, exchange, self.meter)

    def close(self) -> None:
        """Close all connections that are not in use."""
        with self._lock:
            pools, self._pools = self._pools, {}
        for pool in pools.values():
            pool.close()

    def _send(self, exchange: Exchange) -> Reply:
        send = functools.partial(
            self._pool(exchange.url).send,
            exchange.method,
            exchange.url,
            headers=_headers(exchange),
            read_seconds=exchange.read_seconds,
        )
        if exchange.body is None:
            return send(body=None)
        with exchange.body.open() as source:
            return send(body=_blocks(source, exchange, self.meter))

    def _pool(self, url: str) -> Connections:
        parts = urlsplit(url)
        with self._lock:
            key = (parts.scheme, parts.netloc)
            if key not in self._pools:
                self._pools[key] = self._new_pool(*key)
            return self._pools[key]

    def _new_pool(self, scheme: str, authority: str) -> Connections:
        return Connections(
            scheme,
            authority,
            proxy=proxy_for(scheme, authority, self._environ),
            context=self.trust.context(authority) if scheme == "https" else None,
            most=self._connections,
        )


def _headers(exchange: Exchange) -> dict[str, str]:
    length = {} if exchange.body is None else {"Content-Length": str(exchange.body.size)}
    return {
        "User-Agent": f"ocbuild/{__version__}",
        # A digest is that of the bytes as they are stored.
        "Accept-Encoding": "identity",
        **length,
        **exchange.headers,
    }


def _blocks(source: IO[bytes], exchange: Exchange, meter: Meter) -> Iterator[bytes]:
    """All bytes of a body, and not one more or less than was promised.

    With fewer of them both sides would wait for each other.
    """
    left = cast("Content", exchange.body).size
    while left and (block := source.read(min(left, _BLOCK))):
        left -= len(block)
        meter.count(sent=len(block))
        yield block
    if left:
        raise UnreachableError(
            f"cannot {exchange.what}: its source ended {left} bytes too early", transient=True
        )
