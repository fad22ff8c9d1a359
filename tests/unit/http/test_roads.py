"""TLS and proxies: whom the client believes, and what a proxy sees."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest
from msgspec import Struct
from msgspec.structs import replace

from builder.core.registry_faults import TlsError, UnreachableError
from builder.http.client import HttpClient, Request, Response
from builder.http.trust import Trust
from tests.support.certificates import Certificate, make_authority, make_server
from tests.support.proxies import proxy_to
from tests.support.web import Say, Web, in_turn

FOUND = Say(body=b"found")
NAME = "registry.example.com"


class Keys(Struct, frozen=True, kw_only=True):
    """An authority, a server's certificate by it for 127.0.0.1, and the server's side of TLS."""

    authority: Certificate
    server: Certificate
    context: ssl.SSLContext


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Keys:
    folder = tmp_path_factory.mktemp("tls")
    authority = make_authority(folder)
    server = make_server(folder, authority)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(server.certificate, server.key)
    return Keys(authority=authority, server=server, context=context)


@pytest.fixture
def trust(keys: Keys) -> Trust:
    return Trust(authorities=(keys.authority.certificate,))


@pytest.fixture
def secure(keys: Keys) -> Iterator[Web]:
    with Web(in_turn(FOUND), context=keys.context) as web:
        yield web


def get(url: str, trust: Trust, proxy: str = "", *, times: int = 1) -> Response:
    environ = {"HTTPS_PROXY": proxy, "HTTP_PROXY": proxy}
    client = HttpClient(trust, environ)
    try:
        for _ in range(times):
            response = client.read(Request(method="GET", url=url, what="ask"))
        return response
    finally:
        client.close()


# --- TLS ------------------------------------------------------------------------------------------


def test_a_server_is_believed_by_the_authority_that_was_named(secure: Web, trust: Trust) -> None:
    assert get(f"https://{secure.address}/", trust, times=2).body == b"found"
    assert secure.connections == 1


def test_who_is_signed_by_nobody_we_know_is_not_spoken_to(secure: Web) -> None:
    with pytest.raises(TlsError, match="not accepted: unable to get local issuer") as caught:
        get(f"https://{secure.address}/", Trust())
    assert f"/etc/docker/certs.d/{secure.address}/ca.crt" in str(caught.value.hint)
    assert not caught.value.transient
    assert secure.asked == []


def test_a_certificate_for_another_host_is_not_accepted(secure: Web, trust: Trust) -> None:
    place = secure.address.replace("127.0.0.1", "localhost")
    with pytest.raises(TlsError, match="localhost"):
        get(f"https://{place}/", trust)


def test_a_folder_of_authorities_is_believed_as_openssl_has_it(
    secure: Web, keys: Keys, tmp_path: Path
) -> None:
    import subprocess  # noqa: PLC0415

    (tmp_path / "ca.pem").write_bytes(keys.authority.certificate.read_bytes())
    subprocess.run(["openssl", "rehash", str(tmp_path)], check=True, capture_output=True)
    assert get(f"https://{secure.address}/", Trust(system=str(tmp_path))).body == b"found"


def test_who_wants_to_see_our_certificate_is_shown_it(
    keys: Keys, trust: Trust, tmp_path: Path
) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(keys.server.certificate, keys.server.key)
    context.load_verify_locations(keys.authority.certificate)
    context.verify_mode = ssl.CERT_REQUIRED
    with Web(in_turn(FOUND), context=context) as web:
        folder = tmp_path / web.address
        folder.mkdir()
        (folder / "client.cert").write_bytes(keys.server.certificate.read_bytes())
        (folder / "client.key").write_bytes(keys.server.key.read_bytes())
        ours = replace(trust, folders=(tmp_path,))
        assert get(f"https://{web.address}/", ours).body == b"found"
        with pytest.raises((TlsError, UnreachableError)):
            get(f"https://{web.address}/", trust)


@pytest.mark.parametrize("says", [Say(), Say(status=400)])
def test_who_does_not_speak_tls_is_told_so(says: Say) -> None:
    with Web(in_turn(says)) as web, pytest.raises(TlsError, match="does not speak TLS"):
        get(f"https://{web.address}/", Trust())


# --- proxies --------------------------------------------------------------------------------------


@pytest.fixture
def named(keys: Keys, tmp_path: Path) -> Iterator[tuple[Web, Trust]]:
    """A server behind a proxy that is believed to be NAME."""
    own = Certificate(certificate=tmp_path / "named.crt", key=tmp_path / "named.key")
    import subprocess  # noqa: PLC0415

    argv = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"]
    argv += ["-subj", f"/CN={NAME}", "-addext", f"subjectAltName=DNS:{NAME}"]
    argv += ["-keyout", str(own.key), "-out", str(own.certificate)]
    subprocess.run(argv, check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(own.certificate, own.key)
    trust = Trust(authorities=(own.certificate, keys.authority.certificate))
    with Web(in_turn(FOUND), context=context) as web:
        yield web, trust


def test_tls_goes_through_a_proxy_that_alone_sees_its_login(named: tuple[Web, Trust]) -> None:
    web, trust = named
    with proxy_to(web.address) as proxy:
        way = f"http://user:p%40ss@{proxy.address}"
        reply = get(f"https://{NAME}/v2/", trust, way, times=2)
        (head,) = proxy.asked
    assert reply.body == b"found"
    assert reply.header("X-Of") is None
    assert head.startswith(f"CONNECT {NAME}:443 HTTP/1".encode())
    assert b"Proxy-Authorization: Basic dXNlcjpwQHNz" in head
    assert [asked.target for asked in web.asked] == ["/v2/", "/v2/"]
    assert all("proxy-authorization" not in asked.headers for asked in web.asked)


def test_a_proxy_may_itself_be_spoken_to_by_tls(named: tuple[Web, Trust], keys: Keys) -> None:
    web, trust = named
    with proxy_to(web.address, context=keys.context) as proxy:
        reply = get(f"https://{NAME}/v2/", trust, f"https://user:pass@{proxy.address}")
        assert reply.body == b"found"
        assert b"Proxy-Authorization: Basic dXNlcjpwYXNz" in proxy.asked[0]


def test_a_proxy_that_is_not_believed_is_told_as_the_one_to_blame(
    named: tuple[Web, Trust], keys: Keys
) -> None:
    web, trust = named
    strict = Trust(authorities=trust.authorities[:1])
    with (
        proxy_to(web.address, context=keys.context) as proxy,
        pytest.raises(UnreachableError, match=f"the proxy on the way to {NAME} fails"),
    ):
        get(f"https://{NAME}/v2/", strict, f"https://{proxy.address}")


def test_a_proxy_by_socks_looks_the_name_up(named: tuple[Web, Trust]) -> None:
    web, trust = named
    with proxy_to(web.address, socks=True) as proxy:
        assert get(f"https://{NAME}/v2/", trust, f"socks5://{proxy.address}").body == b"found"
        assert proxy.asked == [f"{NAME}:443".encode()]


def test_without_tls_a_proxy_gets_whole_addresses_and_its_login() -> None:
    trust = Trust(plain_http=frozenset({NAME}))
    with Web(in_turn(FOUND)) as proxy:
        assert get(f"http://{NAME}/v2/?n=1", trust, f"user@{proxy.address}").body == b"found"
        (asked,) = proxy.asked
        assert asked.target == f"http://{NAME}/v2/?n=1"
        assert asked.headers["host"] == NAME
        assert asked.headers["proxy-authorization"] == "Basic dXNlcjo="


def test_a_server_behind_a_proxy_that_is_not_trusted_is_not_the_proxys_fault(
    named: tuple[Web, Trust],
) -> None:
    web, _ = named
    with proxy_to(web.address) as proxy, pytest.raises(TlsError, match=f"certificate of {NAME}"):
        get(f"https://{NAME}/v2/", Trust(), f"http://{proxy.address}")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("HTTP/1.1 407 Proxy Authentication Required", "response 407"),
        ("is what I do not speak", "fails"),
    ],
)
def test_a_proxy_that_refuses_is_told(words: str, told: str) -> None:
    with (
        proxy_to("", refusal=words) as proxy,
        pytest.raises(UnreachableError, match=f"the proxy on the way to {NAME} .*{told}") as caught,
    ):
        get(f"https://{NAME}/v2/", Trust(), f"http://{proxy.address}")
    assert caught.value.transient
    assert "NO_PROXY" in str(caught.value.hint)


@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.parametrize(
    "proxy", ["http://127.0.0.1:1", "http://127.0.0.1:port", "http://", "socks5://127.0.0.1:1"]
)
def test_a_proxy_that_is_not_there_is_told(scheme: str, proxy: str) -> None:
    trust = Trust(plain_http=frozenset({NAME}))
    with pytest.raises(UnreachableError, match="the proxy on the way"):
        get(f"{scheme}://{NAME}/v2/", trust, proxy)


def test_a_proxy_of_another_kind_is_refused() -> None:
    with pytest.raises(UnreachableError, match="ftp:// is no kind of proxy"):
        get(f"https://{NAME}/v2/", Trust(), "ftp://127.0.0.1:1")


def test_the_environment_of_this_process_is_not_asked(
    secure: Web, trust: Trust, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("https_proxy", "HTTPS_PROXY", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    assert get(f"https://{secure.address}/", trust).body == b"found"
