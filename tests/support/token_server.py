"""A token server as the distribution project specifies it: it signs what a user may do."""

from __future__ import annotations

import base64
import json
import secrets
import ssl
import time
from collections.abc import Iterable
from urllib.parse import parse_qs

from tests.support.certificates import Certificate, sign
from tests.support.registry import PASSWORD, USER
from tests.support.web import Asked, Say, Web

SERVICE, ISSUER = "registry of the tests", "token server of the tests"
IDENTITY = "an identity token"
# What somebody who does not say who he is may do.
_ANONYMOUS = {"pull"}


class TokenServer:
    """Gives tokens to USER with PASSWORD or IDENTITY for all, and to anybody for reading public/*.

    Whatever is asked for in ``closed`` repositories is not granted to anybody. Tokens live for
    ``lifetime`` seconds.
    """

    def __init__(
        self,
        signer: Certificate,
        *,
        lifetime: int = 300,
        closed: frozenset[str] = frozenset(),
        context: ssl.SSLContext | None = None,
    ) -> None:
        self._signer = signer
        self.lifetime = lifetime
        self._closed = closed
        self.web = Web(self._answer, context=context)
        scheme = "http" if context is None else "https"
        self.realm = f"{scheme}://{self.web.address}/token"

    @property
    def scopes_asked(self) -> list[list[str]]:
        """The scopes of every request so far."""
        return [sorted(_scopes(asked)) for asked in self.web.asked]

    def _answer(self, asked: Asked) -> Say:
        try:
            user = _user(asked)
        except PermissionError:
            return Say(status=401, body=b'{"errors": [{"code": "UNAUTHORIZED"}]}')
        access = [self._grant(scope, user) for scope in _scopes(asked)]
        reply = {"access_token": self._token(user, access), "expires_in": self.lifetime}
        return Say(body=json.dumps(reply).encode())

    def _grant(self, scope: str, user: str) -> dict[str, object]:
        kind, name, actions = scope.split(":")
        granted = set(actions.split(","))
        if not user:
            granted &= _ANONYMOUS if name.startswith("public/") else set()
        if name in self._closed:
            granted = set()
        return {"type": kind, "name": name, "actions": sorted(granted)}

    def _token(self, user: str, access: list[dict[str, object]]) -> str:
        pem = self._signer.certificate.read_text().splitlines()
        header = {"typ": "JWT", "alg": "RS256", "x5c": ["".join(pem[1:-1])]}
        now = int(time.time())
        claims = {
            "iss": ISSUER,
            "sub": user,
            "aud": SERVICE,
            "iat": now,
            "nbf": now - 10,
            "exp": now + self.lifetime,
            "jti": secrets.token_hex(8),
            "access": access,
        }
        signed = ".".join(_coded(json.dumps(part).encode()) for part in (header, claims))
        return f"{signed}.{_coded(sign(signed.encode(), self._signer.key))}"


def _user(asked: Asked) -> str:
    """Who asks; "" for anybody."""
    if asked.method == "POST":
        form = parse_qs(asked.body.decode())
        if form["grant_type"] != ["refresh_token"] or form["refresh_token"] != [IDENTITY]:
            raise PermissionError
        return USER
    said = asked.headers.get("authorization")
    if said is None:
        return ""
    expected = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
    if said != f"Basic {expected}":
        raise PermissionError
    return USER


def _scopes(asked: Asked) -> Iterable[str]:
    if asked.method == "POST":
        return parse_qs(asked.body.decode()).get("scope", [""])[0].split()
    return asked.query.get("scope", [])


def _coded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
