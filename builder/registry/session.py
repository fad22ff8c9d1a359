"""Requests to registries: with proof of who we are, along redirects, and again after faults."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import TypeVar
from urllib.parse import urljoin, urlsplit

from msgspec import Struct, field
from msgspec.structs import replace

from builder.core.backoff import RetryPolicy
from builder.core.errors import InterruptedRunError
from builder.core.reference import HUB, Reference
from builder.http.headers import challenges, retry_after
from builder.http.transport import READ_SECONDS, Answer, Exchange, Traffic, Transport
from builder.registry.auth import Authoriser, Logins, Need, Scopes
from builder.registry.content import Content
from builder.registry.faults import ProtocolError, RegistryError, refusal
from builder.system.clock import Clock

T = TypeVar("T")

_HUB_API = "registry-1.docker.io"
# A manifest may have 4 MiB; a page of tags or of a catalog is smaller.
LARGEST_BODY = 16 << 20
_MOST_REDIRECTS = 5
# Where a registry asks for more than this, it is better to say so than to wait.
_LONGEST_WAIT = 300.0
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_SAME_METHOD = frozenset({307, 308})


class Repository(Struct, frozen=True, kw_only=True):
    """Where a repository is: the registry as references name it, and the path within."""

    host: str
    path: str

    @classmethod
    def of(cls, reference: Reference) -> Repository:
        return _repository(reference.registry, reference.path)

    def scope(self, *actions: str) -> str:
        return f"repository:{self.path}:{','.join(actions)}"

    def __str__(self) -> str:
        return f"{self.host}/{self.path}"


class Request(Struct, frozen=True, kw_only=True):
    """``target`` is a path below the registry's /v2/, or a whole address that it gave us."""

    method: str
    host: str
    target: str
    what: str
    scopes: Scopes = frozenset()
    accepted: frozenset[int] = frozenset({HTTPStatus.OK})
    headers: Mapping[str, str] = field(default_factory=dict)
    body: Content | None = None
    read_seconds: float = READ_SECONDS


class Reply(Struct, frozen=True, kw_only=True):
    """A reply that was read to its end."""

    status: int
    url: str
    body: bytes
    headers: Mapping[str, str]


@functools.lru_cache(maxsize=1024)
def _repository(registry: str, path: str) -> Repository:
    full = Reference.parse(Reference(registry=registry, path=path).canonical)
    return Repository(host=full.registry, path=full.path)


_KEPT_HEADERS = (
    "Content-Type",
    "Content-Length",
    "Docker-Content-Digest",
    "Link",
    "Location",
)


class Session:
    """What all kinds of requests share; used by many threads at once."""

    def __init__(
        self,
        transport: Transport,
        logins: Logins,
        *,
        clock: Clock,
        retry: RetryPolicy,
        cancel: threading.Event,
    ) -> None:
        self._transport = transport
        self._authoriser = Authoriser(transport, logins, clock)
        self._clock = clock
        self._retry = retry
        self._cancel = cancel
        self._schemes: dict[str, str] = {}

    @property
    def traffic(self) -> Traffic:
        return self._transport.meter.traffic

    def send(self, request: Request) -> Reply:
        """Ask, and ask again after faults that pass."""
        return self.persist(lambda: self.send_once(request))

    def send_once(self, request: Request) -> Reply:
        """Ask once: for a step that cannot be repeated by itself."""
        with self.open_once(request) as answer:
            headers = {
                name: value for name in _KEPT_HEADERS if (value := answer.header(name)) is not None
            }
            body = answer.read_all(LARGEST_BODY)
            return Reply(status=answer.status, url=answer.url, body=body, headers=headers)

    def open_once(self, request: Request) -> Answer:
        """Ask once, and leave the body of the reply to the caller.

        Raises:
            RegistryError: nobody answers, or the status is none of those that are accepted.

        """
        answer = self._follow(request)
        if answer.status in request.accepted:
            return answer
        wait = retry_after(answer.header("Retry-After"), self._clock.now())
        body = answer.read_all(LARGEST_BODY)
        raise refusal(request.what, request.host, answer.status, body, retry_after=wait)

    def persist(self, work: Callable[[], T]) -> T:
        """Do the work, and do it again after faults that pass, as often as the policy says.

        Raises:
            InterruptedRunError: the run was stopped while we waited.

        """
        attempt = 1
        while True:
            try:
                return work()
            except RegistryError as error:
                wait = self._wait(error, attempt)
                if not error.transient or attempt > self._retry.retries or wait > _LONGEST_WAIT:
                    raise
            self._transport.meter.count(retries=1)
            if self._clock.wait(self._cancel, wait):
                raise InterruptedRunError("stopped while waiting for a registry")
            attempt += 1

    def address(self, host: str, target: str) -> str:
        """The whole address of a path below /v2/."""
        api = _HUB_API if host == HUB else host
        scheme = self._schemes.get(api)
        if scheme is None:
            scheme = self._schemes.setdefault(api, self._transport.trust.scheme(api))
        return f"{scheme}://{api}/v2/{target}"

    def close(self) -> None:
        self._transport.close()

    def _wait(self, error: RegistryError, attempt: int) -> float:
        chance = self._clock.random()
        delay = self._retry.delay(attempt, chance)
        if error.retry_after is None:
            return delay
        # All threads were sent away at once; they are not to come back at once.
        return max(delay, error.retry_after + self._retry.first * chance)

    def _follow(self, request: Request) -> Answer:
        home = self.address(request.host, "")
        exchange = Exchange(
            method=request.method,
            url=request.target if is_whole(request.target) else home + request.target,
            what=request.what,
            headers=request.headers,
            body=request.body,
            read_seconds=request.read_seconds,
        )
        for _ in range(_MOST_REDIRECTS):
            # Our credentials are for the registry alone, never for where it sends us.
            if exchange.url.startswith(home) or _origin(exchange.url) == _origin(home):
                answer = self._authorised(request, exchange)
            else:
                answer = self._transport.open(exchange)
            location = answer.header("Location")
            if answer.status not in _REDIRECTS or location is None:
                return answer
            answer.read_all(LARGEST_BODY)
            exchange = replace(exchange, url=_next(exchange, answer.status, location))
        raise ProtocolError(f"cannot {request.what}: {request.host} redirects in a circle")

    def _authorised(self, request: Request, exchange: Exchange) -> Answer:
        need = Need(host=request.host, scopes=request.scopes, what=request.what)
        proof = self._authoriser.header(need)
        answer = self._transport.open(_proven(exchange, proof))
        if answer.status != HTTPStatus.UNAUTHORIZED:
            return answer
        asked = challenges(answer.headers("WWW-Authenticate"))
        answer.read_all(LARGEST_BODY)
        proof = self._authoriser.renewed(need, asked, proof)
        answer = self._transport.open(_proven(exchange, proof))
        if answer.status == HTTPStatus.UNAUTHORIZED:
            asked = challenges(answer.headers("WWW-Authenticate"))
            answer.read_all(LARGEST_BODY)
            raise self._authoriser.refusal(need, asked)
        return answer


def _proven(exchange: Exchange, proof: str | None) -> Exchange:
    if proof is None:
        return exchange
    return replace(exchange, headers={**exchange.headers, "Authorization": proof})


def _next(exchange: Exchange, status: int, location: str) -> str:
    """Where a redirect leads.

    Raises:
        ProtocolError: it leads out of TLS, or would change what we ask for.

    """
    url = urljoin(exchange.url, location)
    if exchange.method not in ("GET", "HEAD") and status not in _SAME_METHOD:
        raise ProtocolError(
            f"cannot {exchange.what}: {exchange.authority} redirects a {exchange.method} with"
            f" {status} to {_place(url)}",
            hint="use the registry's final address",
        )
    refuse_downgrade(exchange.url, url, exchange.what)
    return url


def refuse_downgrade(before: str, after: str, what: str) -> None:
    """Raise ProtocolError if a registry that speaks TLS sends us to an address that does not."""
    if urlsplit(before).scheme == "https" and urlsplit(after).scheme != "https":
        raise ProtocolError(
            f"cannot {what}: {_place(before)} sends us on to {_place(after)}, without TLS",
            hint="behind a proxy that does the TLS the registry must be told of it: "
            "http.relativeurls, or X-Forwarded-Proto",
        )


def is_whole(address: str) -> bool:
    """Whether it is more than a path, so that nothing has to be put before it."""
    return "://" in address.partition("?")[0]


def _origin(url: str) -> tuple[str, str, int | None]:
    parts = urlsplit(url)
    default = 443 if parts.scheme == "https" else 80
    return parts.scheme, (parts.hostname or "").lower(), parts.port or default


def _place(url: str) -> str:
    """An address without its query, which may hold a signature."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
