"""The client against what a real registry cannot be made to do: faults, oddities, redirects."""

from __future__ import annotations

import json
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from msgspec.structs import replace

from builder.core.errors import InterruptedRunError
from builder.core.reference import Reference
from builder.core.registry_content import OCI_MANIFEST, digest_of
from builder.core.registry_faults import (
    BusyError,
    DigestMismatchError,
    ForbiddenError,
    ProtocolError,
    RegistryError,
    ServerFaultError,
    TlsError,
    UnreachableError,
)
from builder.http.trust import Trust
from builder.registry.client import Registry
from tests.support.client import RETRY, make_client
from tests.support.clock import FakeClock
from tests.support.images import make_image
from tests.support.web import RESET, Asked, Say, Web, in_turn

MADE = make_image().manifest
FOUND = Say(
    headers={"Content-Type": OCI_MANIFEST, "Docker-Content-Digest": MADE.digest}, body=MADE.body
)


def image(web: Web) -> Reference:
    return Reference(registry=web.address, path="ns/app", tag="1")


# --- faults that pass -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "fault", [Say(status=500), Say(status=502), Say(status=503), Say(status=429), RESET]
)
def test_a_fault_that_passes_costs_a_wait_and_nothing_else(fault: Say) -> None:
    clock = FakeClock()
    with Web(in_turn(fault, fault, FOUND)) as web, make_client(clock=clock) as client:
        assert client.manifest(image(web)) == MADE
        assert client.traffic.requests == 3
        assert client.traffic.retries == 2
    assert clock.waits == [1.5, 3.0]


def test_a_fault_that_stays_is_told_as_one_that_may_pass() -> None:
    clock = FakeClock()
    with (
        Web(in_turn(Say(status=503, body=b"<html>"))) as web,
        make_client(clock=clock) as client,
        pytest.raises(ServerFaultError, match="503 Service Unavailable") as caught,
    ):
        client.manifest(image(web))
    assert caught.value.transient
    assert len(clock.waits) == 3


@pytest.mark.parametrize("status", [400, 403, 404, 405, 413])
def test_what_does_not_pass_is_asked_once(status: int) -> None:
    clock = FakeClock()
    with Web(in_turn(Say(status=status))) as web, make_client(clock=clock) as client:
        with pytest.raises(RegistryError, match="cannot read"):
            client.manifest(image(web))
        assert len(web.asked) == 1
    assert clock.waits == []


@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize("after", ["40", "Tue, 14 Nov 2023 22:14:00 GMT"])
def test_a_registry_says_how_long_to_wait_in_seconds_or_by_date(status: int, after: str) -> None:
    clock = FakeClock()
    busy = Say(status=status, headers={"Retry-After": after})
    with Web(in_turn(busy, FOUND)) as web, make_client(clock=clock) as client:
        client.manifest(image(web))
    # The last second is chance, so that not all that were sent away come back together.
    assert clock.waits == [41.0]


def test_a_registry_that_asks_for_an_hour_is_not_waited_for() -> None:
    clock = FakeClock()
    busy = Say(status=429, headers={"Retry-After": "3600"})
    with (
        Web(in_turn(busy)) as web,
        make_client(clock=clock) as client,
        pytest.raises(BusyError) as caught,
    ):
        client.manifest(image(web))
    assert caught.value.retry_after == 3600.0
    assert clock.waits == []


def test_a_run_that_is_stopped_waits_no_longer() -> None:
    cancel = threading.Event()
    cancel.set()
    with (
        Web(in_turn(Say(status=503))) as web,
        make_client(cancel=cancel) as client,
        pytest.raises(InterruptedRunError),
    ):
        client.manifest(image(web))


def test_where_nothing_listens_is_said_at_once() -> None:
    with Web(in_turn(FOUND)) as web:
        pass
    clock = FakeClock()
    with (
        make_client(clock=clock) as client,
        pytest.raises(UnreachableError, match=f"nothing listens at {web.address}") as caught,
    ):
        client.manifest(image(web))
    assert caught.value.exit_code == 4
    assert clock.waits == []


def test_a_registry_that_has_answered_before_is_waited_for() -> None:
    clock = FakeClock()
    with make_client(clock=clock) as client:
        last = replace(FOUND, headers={**FOUND.headers, "Connection": "close"})
        with Web(in_turn(last)) as web:
            client.manifest(image(web))
        with pytest.raises(UnreachableError, match="nothing listens"):
            client.manifest(image(web))
    assert len(clock.waits) == RETRY.retries


def test_one_thread_needs_one_connection_whatever_is_answered() -> None:
    stored = Say(status=201, headers={"Docker-Content-Digest": MADE.digest})
    moved = Say(status=307, headers={"Location": "/v2/x"}, body=b"over there")
    faults = [Say(status=status, body=b"no") for status in (429, 500, 404)]
    with Web(in_turn(FOUND, FOUND, *faults, stored, moved, FOUND)) as web, make_client() as client:
        client.head(image(web))
        client.manifest(image(web))
        assert client.head(image(web)) is None
        client.put(image(web), MADE)
        client.manifest(image(web))
        assert len(web.asked) == 8
        assert web.connections == 1


def test_as_many_connections_are_kept_as_there_are_threads() -> None:
    start = threading.Barrier(16)

    def work(_: int) -> None:
        start.wait(timeout=30)
        client.head(image(web))

    with Web(in_turn(FOUND)) as web, make_client() as client, ThreadPoolExecutor(16) as threads:
        for _ in range(4):
            list(threads.map(work, range(16)))
        assert len(web.asked) == 64
        assert web.connections <= 16


# --- content that is not what it should be --------------------------------------------------------


def test_a_manifest_that_is_cut_off_is_read_again() -> None:
    cut = Say(headers=FOUND.headers, body=MADE.body, cut=20)
    with Web(in_turn(cut, FOUND)) as web, make_client() as client:
        assert client.manifest(image(web)) == MADE


def test_a_manifest_of_another_digest_is_refused() -> None:
    headers = {**FOUND.headers, "Docker-Content-Digest": digest_of(b"")}
    with Web(in_turn(Say(headers=headers, body=MADE.body))) as web, make_client() as client:
        with pytest.raises(DigestMismatchError, match=r"cannot read .*: what came has the digest"):
            client.manifest(image(web))
        with pytest.raises(DigestMismatchError, match="the registry names"):
            client.head(image(web).at(MADE.digest))


def test_a_manifest_that_never_ends_is_given_up() -> None:
    with (
        Web(in_turn(Say(headers=FOUND.headers, body=b" " * (17 << 20)))) as web,
        make_client() as client,
        pytest.raises(ProtocolError, match="more than 16777216 bytes"),
    ):
        client.manifest(image(web))


@pytest.mark.parametrize(
    "headers",
    [
        {"Content-Type": OCI_MANIFEST},
        {"Content-Type": "text/plain", "Docker-Content-Digest": MADE.digest},
    ],
)
def test_where_a_head_does_not_tell_all_the_content_is_read(headers: dict[str, str]) -> None:
    with Web(in_turn(Say(headers=headers, body=MADE.body))) as web, make_client() as client:
        assert client.head(image(web)) == MADE.descriptor
        assert [asked.method for asked in web.asked] == ["HEAD", "GET"]


def test_a_forbidden_tag_is_not_taken_for_an_absent_one() -> None:
    with (
        Web(in_turn(Say(status=403))) as web,
        make_client() as client,
        pytest.raises(ForbiddenError),
    ):
        client.head(image(web))


def test_a_pushed_manifest_is_read_back() -> None:
    with Web(in_turn(Say(status=201), FOUND)) as web, make_client() as client:
        assert client.put(image(web), MADE) == MADE.descriptor
        assert [asked.method for asked in web.asked] == ["PUT", "HEAD"]
    other = Say(status=201, headers={"Docker-Content-Digest": digest_of(b"")})
    with (
        Web(in_turn(other)) as web,
        make_client() as client,
        pytest.raises(DigestMismatchError, match="but the registry has"),
    ):
        client.put(image(web), MADE)


def test_nothing_is_pushed_under_a_digest_that_it_does_not_have() -> None:
    with Web(in_turn(FOUND)) as web, make_client() as client:
        with pytest.raises(DigestMismatchError):
            client.put(image(web).at(digest_of(b"")), MADE)
        assert web.asked == []


# --- TLS, proxies, lists --------------------------------------------------------------------------


def test_a_registry_that_should_speak_tls_and_does_not_gets_no_second_chance(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    folder = tmp_path_factory.mktemp("certs.d")
    with Web(in_turn(FOUND)) as web, make_client(certificates=folder) as client:
        (folder / web.address).mkdir()
        with pytest.raises(TlsError, match="does not speak TLS") as caught:
            client.manifest(image(web))
        assert "plain-http" in str(caught.value.hint)
        assert web.asked == []


def test_a_proxy_is_asked_for_what_is_behind_it() -> None:
    with (
        Web(in_turn(FOUND)) as proxy,
        Registry.connect(
            {"HTTP_PROXY": proxy.address},
            clock=FakeClock(),
            trust=Trust(plain_http=frozenset({"registry.example.com"})),
            logins=lambda _host: None,
        ) as client,
    ):
        assert client.manifest(Reference.parse("registry.example.com/ns/app:1")) == MADE
        assert proxy.asked[0].target == "http://registry.example.com/v2/ns/app/manifests/1"


@pytest.mark.parametrize(
    ("link", "reason"),
    [
        ("http://other.example.com/v2/_catalog?n=1", "other.example.com"),
        ("/v2/_catalog?n=1000", "the next page is said to be"),
    ],
)
def test_pages_neither_lead_away_nor_in_a_circle(link: str, reason: str) -> None:
    body = json.dumps({"repositories": ["a"]}).encode()
    page = Say(body=body, headers={"Link": f'<{link}>; rel="next"'})
    with (
        Web(in_turn(page)) as web,
        make_client() as client,
        pytest.raises(ProtocolError, match=reason),
    ):
        list(client.catalog(web.address))


def test_null_is_no_tags_and_nonsense_is_an_error() -> None:
    with Web(in_turn(Say(body=b'{"tags": null}'), Say(body=b"[]"))) as web, make_client() as client:
        assert list(client.tags(image(web))) == []
        with pytest.raises(ProtocolError, match="no list of tags"):
            list(client.tags(image(web)))


def test_something_that_is_no_registry_is_told() -> None:
    with (
        Web(in_turn(Say(status=404))) as web,
        make_client() as client,
        pytest.raises(ProtocolError, match="it is no registry"),
    ):
        client.check(web.address)


def test_pages_without_end_are_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("builder.registry.client._MOST_PAGES", 5)
    pages = iter(range(1000))

    def answer(asked: Asked) -> Say:
        link = f'</v2/_catalog?n={next(pages)}&x=>; rel="next"'
        return Say(body=b'{"repositories": ["a"]}', headers={"Link": link})

    with Web(answer) as web, make_client() as client:
        with pytest.raises(ProtocolError, match="there are more than 5 pages"):
            list(client.catalog(web.address))
        assert len(web.asked) == 5


@pytest.mark.parametrize("body", [b'{"tags": [1]}', b'{"tags": {}}', b"\xff", b'{"tags": "x"}'])
def test_an_odd_list_is_one_error_of_ours(body: bytes) -> None:
    with (
        Web(in_turn(Say(body=body))) as web,
        make_client() as client,
        pytest.raises(ProtocolError, match="no list of tags"),
    ):
        list(client.tags(image(web)))
