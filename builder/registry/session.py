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

from builder.core.errors import InterruptedRunError
from builder.core.reference import HUB, Reference
from builder.core.registry_content import Content
from builder.core.registry_faults import ProtocolError, RegistryError, UnreachableError, refusal
from builder.core.schedule import RetryPolicy
from builder.core.web import retry_after
from builder.http.client import DOCUMENT, HttpClient, Request, Response, Traffic
from builder.http.handle import Limits
from builder.registry.auth import Authoriser, Logins, Need, Scopes
from builder.system.resources import Clock

T = TypeVar("T")

_HUB_API = "registry-1.docker.io"
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


class Call(Struct, frozen=True, kw_only=True):
    """One call of a registry's API: ``what`` follows "cannot" in messages about it.

    ``target`` is a path below the registry's /v2/, or a whole address that it gave us.
    """

    method: str
    host: str
    target: str
    what: str
    scopes: Scopes = frozenset()
    accepted: frozenset[int] = frozenset({HTTPStatus.OK})
    headers: Mapping[str, str] = field(default_factory=dict)
    body: Content | None = None
    limits: Limits = DOCUMENT
    raw: bool = False


@functools.lru_cache(maxsize=1024)
def _repository(registry: str, path: str) -> Repository:
    full = Reference.parse(Reference(registry=registry, path=path).canonical)
    return Repository(host=full.registry, path=full.path)


class Session:
    """What all kinds of requests share; used by many threads at once."""

    def __init__(
        self,
        client: HttpClient,
        logins: Logins,
        *,
        clock: Clock,
        retry: RetryPolicy,
        cancel: threading.Event,
    ) -> None:
        self._client = client
        self._authoriser = Authoriser(client, logins, clock)
        self._clock = clock
        self._retry = retry
        self._cancel = cancel
        self._schemes: dict[str, str] = {}
        self._answered: set[str] = set()

    @property
    def traffic(self) -> Traffic:
        return self._client.meter.traffic

    def send(self, call: Call) -> Response:
        """Ask, and ask again after faults that pass; the reply is read to its end."""
        return self.persist(lambda: self.send_once(call))

    def send_once(self, call: Call) -> Response:
        """Ask once: for a step that cannot be repeated by itself."""
        response = self.open_once(call)
        response.read_all()
        return response

    def open_once(self, call: Call) -> Response:
        """Ask once, with proof of who we are and along redirects; the body is still to be read.

        Raises:
            RegistryError: nobody answers, or the status is none of those that are accepted.

        """
        try:
            response = self._open(call)
        except UnreachableError as error:
            # Where a registry has answered before, it is being started again.
            transient = error.transient or call.host in self._answered
            raise UnreachableError(error.message, hint=error.hint, transient=transient) from error
        except RegistryError as error:
            if error.status is not None:
                self._answered.add(call.host)
            raise
        self._answered.add(call.host)
        return response

    def _open(self, call: Call) -> Response:
        home = self.address(call.host, "")
        request = Request(
            method=call.method,
            url=call.target if is_whole(call.target) else home + call.target,
            what=call.what,
            headers=call.headers,
            body=call.body,
            limits=call.limits,
            raw=call.raw,
        )
        need = Need(host=call.host, scopes=call.scopes, what=call.what)
        for _ in range(_MOST_REDIRECTS):
            # Our credentials are for the registry alone, never for where it sends us.
            if request.url.startswith(home) or _origin(request.url) == _origin(home):
                response = self._authoriser.open(need, request)
            else:
                response = self._client.open(request)
            location = response.header("Location")
            if response.status not in _REDIRECTS or location is None:
                break
            response.read_all()
            request = replace(request, url=_next(request, response.status, location))
        else:
            raise ProtocolError(f"cannot {call.what}: {call.host} redirects in a circle")
        if response.status in call.accepted:
            return response
        wait = retry_after(response.header("Retry-After"), self._clock.now())
        body = response.read_all()
        raise refusal(call.what, call.host, response.status, body, retry_after=wait)

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
            self._client.meter.count(retries=1)
            if self._clock.wait(self._cancel, wait):
                raise InterruptedRunError("stopped while waiting for a registry")
            attempt += 1

    def address(self, host: str, target: str) -> str:
        """The whole address of a path below /v2/."""
        api = _HUB_API if host == HUB else host
        scheme = self._schemes.get(api)
        if scheme is None:
            scheme = self._schemes.setdefault(api, self._client.trust.scheme(api))
        return f"{scheme}://{api}/v2/{target}"

    def close(self) -> None:
        self._client.close()

    def _wait(self, error: RegistryError, attempt: int) -> float:
        chance = self._clock.random()
        delay = self._retry.delay(attempt, chance)
        if error.retry_after is None:
            return delay
        # All threads were sent away at once; they are not to come back at once.
        return max(delay, error.retry_after + self._retry.first * chance)


def _next(request: Request, status: int, location: str) -> str:
    """Where a redirect leads.

    Raises:
        ProtocolError: it leads out of TLS, or would change what we ask for.

    """
    url = urljoin(request.url, location)
    if request.method not in ("GET", "HEAD") and status not in _SAME_METHOD:
        raise ProtocolError(
            f"cannot {request.what}: {request.authority} redirects a {request.method} with"
            f" {status} to {_place(url)}",
            hint="use the registry's final address",
        )
    refuse_downgrade(request.url, url, request.what)
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
