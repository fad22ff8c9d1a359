"""Logins against token servers that are odd, slow, or say no."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from builder.core.reference import Reference
from builder.core.registry_content import OCI_MANIFEST
from builder.core.registry_faults import (
    ForbiddenError,
    ProtocolError,
    RefusedError,
    RegistryError,
    ServerFaultError,
    UnauthorisedError,
)
from builder.docker.settings import Login
from builder.registry.auth import merged
from tests.support.client import make_client
from tests.support.clock import FakeClock
from tests.support.images import make_image
from tests.support.web import Asked, Say, Web

if TYPE_CHECKING:
    from typing_extensions import Self

MADE = make_image().manifest
ALICE = Login(username="alice", password="s3cret")
IDENTITY = Login(identity_token="first")


class Pair:
    """A registry that takes only the tokens in ``good``, and a token server that ``gives`` some."""

    def __init__(self, gives: Callable[[Asked, int], Say]) -> None:
        self.good: set[str] = set()
        self.complaint = ""
        self._gives = gives
        self._count = 0
        self._lock = threading.Lock()
        self.tokens = Web(self._give)
        self.registry = Web(self._answer)

    def __enter__(self) -> Self:
        self.tokens.__enter__()
        self.registry.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self.registry.__exit__(None, None, None)
        self.tokens.__exit__(None, None, None)

    @property
    def image(self) -> Reference:
        return Reference(registry=self.registry.address, path="ns/app", tag="1")

    def _give(self, asked: Asked) -> Say:
        with self._lock:
            self._count += 1
            count = self._count
        return self._gives(asked, count)

    def _answer(self, asked: Asked) -> Say:
        if asked.headers.get("authorization", "").removeprefix("Bearer ") in self.good:
            headers = {"Content-Type": OCI_MANIFEST, "Docker-Content-Digest": MADE.digest}
            return Say(status=201 if asked.method == "PUT" else 200, headers=headers)
        realm = f'Bearer realm="http://{self.tokens.address}/token?x=1",service="a registry"'
        return Say(status=401, headers={"WWW-Authenticate": realm + self.complaint})


def token(value: str, **more: object) -> Say:
    return Say(body=json.dumps({"token": value, **more}).encode())


def numbered(**more: object) -> Callable[[Asked, int], Say]:
    return lambda _asked, count: token(f"t{count}", **more)


def test_a_token_is_asked_for_what_is_needed_and_by_whom() -> None:
    with Pair(numbered()) as pair, make_client(login=ALICE) as client:
        pair.good.add("t1")
        client.head(pair.image)
        (asked,) = pair.tokens.asked
        assert asked.query == {
            "x": ["1"],
            "service": ["a registry"],
            "scope": ["repository:ns/app:pull"],
        }
        assert asked.headers["authorization"] == ALICE.basic
        assert "authorization" not in pair.registry.asked[0].headers


def test_many_threads_at_once_fetch_one_token() -> None:
    with Pair(numbered(expires_in=300)) as pair, make_client() as client:
        pair.good.add("t1")
        with ThreadPoolExecutor(16) as threads:
            list(threads.map(lambda _: client.head(pair.image), range(64)))
        assert len(pair.tokens.asked) == 1


def test_many_threads_whose_token_was_revoked_fetch_one_more() -> None:
    with Pair(numbered(expires_in=300)) as pair, make_client() as client:
        pair.good = {"t1"}
        client.head(pair.image)
        pair.good = {"t2"}
        with ThreadPoolExecutor(16) as threads:
            list(threads.map(lambda _: client.head(pair.image), range(64)))
        assert len(pair.tokens.asked) == 2


@pytest.mark.parametrize(
    ("more", "seconds"),
    [
        ({}, 60),
        ({"expires_in": 300}, 300),
        ({"expires_in": None}, 60),
        ({"expires_in": "x"}, 60),
        ({"expires_in": 0}, 60),
    ],
)
def test_a_token_is_used_until_shortly_before_it_expires(
    more: dict[str, object], seconds: int
) -> None:
    clock = FakeClock()
    with Pair(numbered(**more)) as pair, make_client(clock=clock) as client:
        pair.good = {"t1", "t2"}
        client.head(pair.image)
        clock.advance(seconds * 0.85)
        client.head(pair.image)
        assert len(pair.tokens.asked) == 1
        clock.advance(seconds * 0.1)
        client.head(pair.image)
        # The second one was fetched before the registry had to complain.
        assert (len(pair.tokens.asked), len(pair.registry.asked)) == (2, 4)


def test_reading_and_writing_have_a_token_each() -> None:
    with Pair(numbered()) as pair, make_client() as client:
        pair.good = {"t1", "t2"}
        client.head(pair.image)
        client.put(pair.image, MADE)
        client.head(pair.image)
        client.put(pair.image, MADE)
        scopes = [asked.query["scope"] for asked in pair.tokens.asked]
        assert scopes == [["repository:ns/app:pull"], ["repository:ns/app:pull,push"]]


def test_scopes_that_the_registry_names_are_asked_for_as_well_and_remembered() -> None:
    with Pair(numbered()) as pair, make_client() as client:
        pair.complaint = ',scope="repository:ns/other:pull repository:ns/app:pull"'
        pair.good = {"t1"}
        client.head(pair.image)
        client.head(pair.image)
        (asked,) = pair.tokens.asked
        assert asked.query["scope"] == ["repository:ns/app:pull", "repository:ns/other:pull"]


def test_an_identity_token_buys_tokens_and_may_be_replaced() -> None:
    def give(asked: Asked, count: int) -> Say:
        return token(f"t{count}", refresh_token="second", expires_in=10)

    clock = FakeClock()
    with Pair(give) as pair, make_client(login=IDENTITY, clock=clock) as client:
        pair.good = {"t1", "t2"}
        client.head(pair.image)
        clock.advance(10)
        client.head(pair.image)
        forms = [asked.body.decode() for asked in pair.tokens.asked]
        assert [asked.method for asked in pair.tokens.asked] == ["POST", "POST"]
        assert "grant_type=refresh_token" in forms[0]
        assert "scope=repository%3Ans%2Fapp%3Apull" in forms[0]
        assert "service=a+registry" in forms[0]
        assert forms[0].endswith("refresh_token=first")
        assert forms[1].endswith("refresh_token=second")


@pytest.mark.parametrize("login", [None, ALICE, IDENTITY])
@pytest.mark.parametrize("status", [401, 403])
def test_a_token_server_that_says_no_is_believed(login: Login | None, status: int) -> None:
    def give(asked: Asked, count: int) -> Say:
        return Say(status=status)

    with Pair(give) as pair, make_client(login=login) as client:
        with pytest.raises(UnauthorisedError, match=r"cannot look up .*/ns/app:1: ") as caught:
            client.head(pair.image)
        assert ("does not accept the login" in caught.value.message) is (login is not None)
        assert f"docker login {pair.registry.address}" in str(caught.value.hint)
        assert len(pair.tokens.asked) == 1


def test_a_token_server_with_a_passing_fault_is_asked_again() -> None:
    def give(asked: Asked, count: int) -> Say:
        return Say(status=503, headers={"Retry-After": "9"}) if count == 1 else token("t")

    clock = FakeClock()
    with Pair(give) as pair, make_client(clock=clock) as client:
        pair.good.add("t")
        client.head(pair.image)
    assert clock.waits == [10.0]


def test_a_token_server_with_a_lasting_fault_is_named() -> None:
    def give(asked: Asked, count: int) -> Say:
        return Say(status=500)

    with Pair(give) as pair, make_client() as client:
        with pytest.raises(ServerFaultError, match="cannot get a token to look up") as caught:
            client.head(pair.image)
        assert pair.tokens.address in caught.value.message


@pytest.mark.parametrize(
    "body", [b"<html>", b"[]", b"{}", b'{"token": ""}', b'{"token": "a\\r\\nX: y"}', b'{"token":1}']
)
def test_a_reply_without_a_usable_token_is_a_fault_of_the_server(body: bytes) -> None:
    def give(asked: Asked, count: int) -> Say:
        return Say(body=body)

    with Pair(give) as pair, make_client() as client, pytest.raises(ProtocolError):
        client.head(pair.image)


def test_a_token_that_is_never_accepted_ends_in_an_error() -> None:
    with Pair(numbered()) as pair, make_client(login=ALICE) as client:
        with pytest.raises(UnauthorisedError):
            client.head(pair.image)
        assert len(pair.registry.asked) == 2
        with pytest.raises(UnauthorisedError):
            client.head(pair.image)
        assert len(pair.registry.asked) == 4


@pytest.mark.parametrize(("login", "kind"), [(ALICE, ForbiddenError), (None, UnauthorisedError)])
def test_a_grant_that_is_too_narrow_is_told_from_a_wrong_login(
    login: Login | None, kind: type[RegistryError]
) -> None:
    with Pair(numbered()) as pair, make_client(login=login) as client:
        pair.good.add("t1")
        client.head(pair.image)
        pair.complaint = ',error="insufficient_scope"'
        pair.good.clear()
        with pytest.raises(kind, match="cannot look up"):
            client.head(pair.image)
        assert len(pair.tokens.asked) == 1


@pytest.mark.parametrize(
    ("scopes", "expected"),
    [
        ([], []),
        (["repository:a:push,pull"], ["repository:a:pull,push"]),
        (
            ["repository:a:pull", "registry:catalog:*", "repository:a:push,pull"],
            ["registry:catalog:*", "repository:a:pull,push"],
        ),
        (
            ["repository:h:5000/a:pull", "repository:h:5000/a:delete"],
            ["repository:h:5000/a:delete,pull"],
        ),
    ],
)
def test_scopes_of_one_thing_are_one_scope(scopes: list[str], expected: list[str]) -> None:
    assert sorted(merged(scopes)) == expected


def ask_who(*challenges: str) -> Callable[[Asked], Say]:
    return lambda _asked: Say(status=401, headers={"WWW-Authenticate": ", ".join(challenges)})


@pytest.mark.parametrize(
    ("challenge", "reason"), [("Negotiate", r"\(negotiate\)"), ("", r"\(none\)")]
)
def test_a_way_that_we_do_not_know_is_named(challenge: str, reason: str) -> None:
    with (
        Web(ask_who(challenge)) as web,
        make_client(login=ALICE) as client,
        pytest.raises(RefusedError, match=reason),
    ):
        client.check(web.address)


@pytest.mark.parametrize(
    ("login", "requests", "text"),
    [(None, 1, "has none for it"), (IDENTITY, 1, "does not accept"), (ALICE, 2, "does not accept")],
)
def test_a_password_is_sent_once_and_only_if_there_is_one(
    login: Login | None, requests: int, text: str
) -> None:
    with Web(ask_who("Basic realm=r")) as web, make_client(login=login) as client:
        with pytest.raises(UnauthorisedError, match=text):
            client.check(web.address)
        assert len(web.asked) == requests


@pytest.mark.parametrize("realm", ["http://tokens.example.com/", "file:///x", "tokens", "//x/y"])
def test_credentials_go_to_no_token_server_without_tls(realm: str) -> None:
    with (
        Web(ask_who(f'Bearer realm="{realm}"')) as web,
        make_client(login=ALICE) as client,
        pytest.raises(ProtocolError, match="without TLS"),
    ):
        client.check(web.address)
