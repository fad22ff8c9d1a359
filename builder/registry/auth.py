"""Proves who we are: Basic, or Bearer tokens, each fetched once for all threads that need it."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterable, Sequence
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from msgspec import Struct
from msgspec.structs import replace

from builder.core.codec import MalformedError, decode
from builder.core.registry_content import Content
from builder.core.registry_faults import (
    ProtocolError,
    RefusedError,
    RegistryError,
    refusal,
    unauthorised,
)
from builder.core.web import Challenge, challenges, retry_after
from builder.docker.settings import Login
from builder.http.client import DOCUMENT, HttpClient, Request, Response
from builder.system.resources import Clock

Scopes = frozenset[str]
Logins = Callable[[str], Login | None]

_CLIENT = "ocbuild"
_LIMITS = replace(DOCUMENT, most=1 << 20)
# Nothing else may become part of a header.
_TOKEN = re.compile(r"[\x21-\x7e]+")
# The protocol's own default.
_LIFETIME_SECONDS = 60.0
# A token is not used in the last part of its life, so that it does not run out on the way.
_MARGIN = 0.1


class Need(Struct, frozen=True, kw_only=True):
    """What is to be allowed at a registry; ``what`` follows "cannot" in messages."""

    host: str
    scopes: Scopes
    what: str

    @property
    def key(self) -> tuple[str, Scopes]:
        return self.host, self.scopes


class _Token(Struct, frozen=True, kw_only=True):
    header: str
    until: float

    def __repr__(self) -> str:
        return f"_Token(until={self.until!r})"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        return [("until", self.until)]


class _TokenAnswer(Struct, frozen=True):
    """What https://distribution.github.io/distribution/spec/auth/token/ says of a reply."""

    token: str | None = None
    access_token: str | None = None
    refresh_token: str | None = None
    expires_in: Any = None


class Authoriser:
    """Remembers how each registry wants to be convinced, and the tokens that it took."""

    def __init__(self, client: HttpClient, logins: Logins, clock: Clock) -> None:
        self._client = client
        self._logins = logins
        self._clock = clock
        self._lock = threading.Lock()
        self._ways: dict[str, Challenge] = {}
        self._tokens: dict[tuple[str, Scopes], _Token] = {}
        self._locks: dict[tuple[str, Scopes], threading.Lock] = {}
        self._wider: dict[tuple[str, Scopes], Scopes] = {}
        self._identities: dict[str, str] = {}

    def open(self, need: Need, request: Request) -> Response:
        """Send a request with what proves who we are, and once more after the registry asked.

        Raises:
            RegistryError: nobody answers, or nothing that we have convinces it.

        """
        proof = self._header(need)
        response = self._client.open(_proven(request, proof))
        if response.status != HTTPStatus.UNAUTHORIZED:
            return response
        proof = self._renewed(need, _asked(response), proof)
        response = self._client.open(_proven(request, proof))
        if response.status == HTTPStatus.UNAUTHORIZED:
            raise self._refusal(need, _asked(response))
        return response

    def _header(self, need: Need) -> str | None:
        """The Authorization header for a request; None as long as the registry asks for none."""
        way = self._ways.get(need.host)
        return None if way is None else self._prove(need, way, refused=None)

    def _renewed(self, need: Need, asked: Sequence[Challenge], refused: str | None) -> str:
        """The header for a second try, after ``refused`` was answered with 401.

        Raises:
            UnauthorisedError: there is nothing better than what was refused.
            ForbiddenError: we are known there, but may not do this.

        """
        way = _best(asked, need)
        with self._lock:
            self._ways[need.host] = way
        if way.scheme == "bearer" and not self._widen(need, way) and refused and _is_narrow(asked):
            # It took the token for ours and still says no; the next one would be like it.
            raise self._refusal(need, asked)
        header = self._prove(need, way, refused=refused)
        if header is None or header == refused:
            raise self._refusal(need, asked)
        return header

    def _refusal(self, need: Need, asked: Sequence[Challenge]) -> RegistryError:
        """The error after the last 401."""
        known = self._has_login(need.host)
        if known and _is_narrow(asked):
            return refusal(need.what, need.host, HTTPStatus.FORBIDDEN, b"")
        return unauthorised(need.what, need.host, logged_in=known)

    def _has_login(self, host: str) -> bool:
        return self._logins(host) is not None

    def _widen(self, need: Need, way: Challenge) -> bool:
        """Note the scopes that the registry names beyond ours: it must know."""
        known = self._scopes(need)
        wider = merged({*known, *way.parameters.get("scope", "").split()})
        with self._lock:
            self._wider[need.key] = wider
        return wider != known

    def _scopes(self, need: Need) -> Scopes:
        return self._wider.get(need.key) or merged(need.scopes)

    def _prove(self, need: Need, way: Challenge, *, refused: str | None) -> str | None:
        if way.scheme == "basic":
            login = self._logins(need.host)
            return login.basic if login and login.username else None
        return self._token(replace(need, scopes=self._scopes(need)), way, refused)

    def _token(self, need: Need, way: Challenge, refused: str | None) -> str:
        with self._lock:
            own = self._locks.setdefault(need.key, threading.Lock())
        # Whoever comes first fetches; the others wait here and then find what he got.
        with own:
            token = self._tokens.get(need.key)
            stale = token is None or token.until <= self._clock.monotonic()
            if token is None or stale or token.header == refused:
                token = self._tokens[need.key] = self._fetch(need, way)
            return token.header

    def _fetch(self, need: Need, way: Challenge) -> _Token:
        started = self._clock.monotonic()
        login = self._logins(need.host)
        request = self._question(need, way, login)
        response = self._client.read(request)
        if response.status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
            raise self._refusal(need, ())
        if response.status != HTTPStatus.OK:
            wait = retry_after(response.header("Retry-After"), self._clock.now())
            what, server = request.what, request.authority
            raise refusal(what, server, response.status, response.body, retry_after=wait)
        try:
            answer = decode(response.body, _TokenAnswer, what="the reply")
        except MalformedError as error:
            raise ProtocolError(f"cannot {request.what}: {error}") from error
        value = answer.token or answer.access_token or ""
        if not _TOKEN.fullmatch(value):
            raise ProtocolError(f"cannot {request.what}: the reply holds none")
        if login and login.identity_token and answer.refresh_token:
            self._identities[need.host] = answer.refresh_token
        lifetime = _seconds(answer.expires_in)
        return _Token(header=f"Bearer {value}", until=started + lifetime * (1 - _MARGIN))

    def _question(self, need: Need, way: Challenge, login: Login | None) -> Request:
        realm, what = way.parameters["realm"], f"get a token to {need.what}"
        service, scopes = way.parameters.get("service", ""), sorted(need.scopes)
        if login and login.identity_token:
            form = {
                "grant_type": "refresh_token",
                "client_id": _CLIENT,
                "service": service,
                "scope": " ".join(scopes),
                "refresh_token": self._identities.get(need.host, login.identity_token),
            }
            return Request(
                method="POST",
                url=realm,
                what=what,
                headers={"Content-Type": "application/x-www-form-urlencoded"},
                limits=_LIMITS,
                body=Content.of(urlencode(form).encode()),
            )
        asked = [("service", service)] if service else []
        asked += [("scope", scope) for scope in scopes]
        headers = {"Authorization": login.basic} if login else {}
        url = _with_query(realm, asked)
        return Request(method="GET", url=url, what=what, headers=headers, limits=_LIMITS)


def _proven(request: Request, proof: str | None) -> Request:
    if proof is None:
        return request
    return replace(request, headers={**request.headers, "Authorization": proof})


def _asked(response: Response) -> list[Challenge]:
    """How a registry wants to be convinced; the rest of its refusal is of no use."""
    response.read_all()
    return challenges(response.headers.get("www-authenticate", ()))


def _best(asked: Sequence[Challenge], need: Need) -> Challenge:
    for challenge in asked:
        if challenge.scheme == "bearer" and challenge.parameters.get("realm"):
            return challenge
    for challenge in asked:
        if challenge.scheme == "basic":
            return challenge
    kinds = ", ".join(challenge.scheme for challenge in asked) or "none"
    raise RefusedError(
        f"cannot {need.what}: {need.host} wants a login in a way that we do not know ({kinds})",
        hint="we know Basic and Bearer",
        status=HTTPStatus.UNAUTHORIZED,
    )


def _is_narrow(asked: Sequence[Challenge]) -> bool:
    return any(each.parameters.get("error") == "insufficient_scope" for each in asked)


def merged(scopes: Iterable[str]) -> Scopes:
    """The same scopes with all actions for one thing in one of them, so that sets compare."""
    actions: dict[str, set[str]] = {}
    for scope in scopes:
        thing, _, allowed = scope.rpartition(":")
        actions.setdefault(thing, set()).update(allowed.split(","))
    return frozenset(f"{thing}:{','.join(sorted(each))}" for thing, each in actions.items())


def _with_query(url: str, pairs: Sequence[tuple[str, str]]) -> str:
    parts = urlsplit(url)
    query = urlencode([*parse_qsl(parts.query, keep_blank_values=True), *pairs])
    return urlunsplit(parts._replace(query=query, fragment=""))


def _seconds(lifetime: object) -> float:
    if isinstance(lifetime, int | float) and lifetime > 0:
        return float(lifetime)
    return _LIFETIME_SECONDS
