"""Connections to registries: kept, given up, and led through proxies."""

from __future__ import annotations

import contextlib
import gc
import select
import socket
import socketserver
import ssl
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from builder.http.connection import BadAddressError, HttpError, Reply
from builder.http.pool import Connections, ProxyFailedError, _called, _place
from tests.support.certificates import make_authority, make_server
from tests.support.web import Say, Web, in_turn

FOUND = Say(body=b"found")


def connections(
    authority: str,
    *,
    scheme: str = "http",
    proxy: str | None = None,
    context: ssl.SSLContext | None = None,
    most: int = 2,
) -> Connections:
    return Connections(scheme, authority, proxy=proxy, context=context, most=most)


def get(server: Connections, path: str = "/v2/", headers: Mapping[str, str] | None = None) -> Reply:
    url = f"{server._scheme}://{server._authority}{path}"
    return server.send("GET", url, headers=headers or {}, body=None, read_seconds=10.0)


def whole(response: Reply) -> bytes:
    with contextlib.closing(response):
        return b"".join(iter(lambda: response.read(2), b""))


def test_a_connection_is_kept_once_its_reply_is_read() -> None:
    with Web(in_turn(FOUND)) as web:
        server = connections(web.address)
        for _ in range(3):
            assert whole(get(server)) == b"found"
        server.close()
        assert web.connections == 1


def test_what_is_not_read_to_its_end_takes_its_connection_with_it() -> None:
    with Web(in_turn(Say(body=bytes(16 << 20)), FOUND)) as web:
        server = connections(web.address)
        get(server).close()
        assert whole(get(server)) == b"found"
        server.close()
        assert web.connections == 2


def test_what_has_come_need_not_be_read_for_its_connection_to_be_kept() -> None:
    with Web(in_turn(Say(status=401), FOUND)) as web:
        server = connections(web.address)
        get(server).close()
        assert whole(get(server)) == b"found"
        server.close()
        assert web.connections == 1


def test_no_more_are_kept_than_wanted_and_none_after_the_end() -> None:
    with Web(in_turn(FOUND)) as web:
        server = connections(web.address, most=1)
        first, second = get(server), get(server)
        assert whole(first) == whole(second) == b"found"
        third = get(server)
        assert web.connections == 2
        server.close()
        assert whole(third) == b"found"
        assert whole(get(server)) == b"found"
        assert web.connections == 3


def test_who_forgets_to_close_leaves_none_open() -> None:
    with Web(in_turn(FOUND)) as web:
        server = connections(web.address)
        assert whole(get(server)) == b"found"
        (kept,) = server._kept
        del server
        gc.collect()
        assert kept.sock.fileno() == -1


def test_a_connection_that_the_server_has_closed_is_not_used_again() -> None:
    with Web(in_turn(Say(body=b"found", headers={"Connection": "keep-alive"}, cut=5))) as web:
        server = connections(web.address)
        assert whole(get(server)) == b"found"
        for _ in range(100):  # until its end has come
            if server._kept and select.select([server._kept[0].sock], [], [], 0.1)[0]:
                break
        assert whole(get(server)) == b"found"
        server.close()
        assert web.connections == 2


def test_a_body_that_ends_too_early_is_no_body() -> None:
    with (
        Web(in_turn(Say(body=b"found", cut=3))) as web,
        pytest.raises(HttpError, match="in the middle"),
    ):
        whole(get(connections(web.address)))


def test_an_address_is_sent_in_the_characters_that_it_may_have() -> None:
    with Web(in_turn(FOUND)) as web:
        server = connections(web.address)
        whole(get(server, "/v2/a b/é?x=%20&y=ü"))
        whole(get(server, "/v2/a?_state=a%2Fb="))
        server.close()
        assert [each.target for each in web.asked] == [
            "/v2/a%20b/%C3%A9?x=%20&y=%C3%BC",
            "/v2/a?_state=a%2Fb=",
        ]


@pytest.mark.parametrize("authority", ["host:port", "[::1", ":5000", "é" * 64 + ".example"])
def test_an_address_that_is_none_is_told_as_such(authority: str) -> None:
    with pytest.raises(BadAddressError):
        connections(authority)._connect()


@pytest.mark.parametrize(
    ("authority", "place", "called"),
    [
        ("registry.example.com", ("registry.example.com", 443), "registry.example.com"),
        ("registry.example.com:443", ("registry.example.com", 443), "registry.example.com"),
        ("registry.example.com:80", ("registry.example.com", 80), "registry.example.com:80"),
        ("[::1]", ("::1", 443), "[::1]"),
        ("[::1]:5000", ("::1", 5000), "[::1]:5000"),
        ("bücher.example", ("bücher.example", 443), "xn--bcher-kva.example"),
    ],
)
def test_a_server_is_where_its_address_says(
    authority: str, place: tuple[str, int], called: str
) -> None:
    assert _place(authority, 443) == place
    assert _called(*place, 443) == called


# -- proxies ------------------------------------------------------------------------------------


class Tunnels(socketserver.ThreadingTCPServer):
    """A proxy that leads to wherever it is asked to, or says ``refusal``."""

    daemon_threads = True
    block_on_close = False

    def __init__(self, refusal: str = "") -> None:
        super().__init__(("127.0.0.1", 0), _Tunnel)
        self.refusal = refusal
        self.asked: list[bytes] = []

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.server_address[1]}"


class _Tunnel(socketserver.StreamRequestHandler):
    server: Tunnels

    def handle(self) -> None:
        head = b"".join(iter(self.rfile.readline, b"\r\n"))
        self.server.asked.append(head)
        if self.server.refusal:
            self.wfile.write(f"HTTP/1.1 {self.server.refusal}\r\n\r\n".encode())
            return
        host, _, port = head.split()[1].decode().rpartition(":")
        with socket.create_connection((host, int(port))) as there:
            self.wfile.write(b"HTTP/1.1 200 OK\r\n\r\n")
            ends = {self.connection: there, there: self.connection}
            while True:
                for end in select.select(list(ends), [], [])[0]:
                    data = end.recv(1 << 16)
                    if not data:
                        return
                    ends[end].sendall(data)


@contextlib.contextmanager
def tunnels(refusal: str = "") -> Iterator[Tunnels]:
    with Tunnels(refusal) as proxy:
        thread = threading.Thread(target=proxy.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield proxy
        finally:
            proxy.shutdown()
            thread.join()


@pytest.fixture(scope="module")
def contexts(tmp_path_factory: pytest.TempPathFactory) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """Of a server, and of a client that trusts it."""
    folder = tmp_path_factory.mktemp("tls")
    authority = make_authority(folder)
    own = make_server(folder, authority)
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(own.certificate, own.key)
    return server, ssl.create_default_context(cafile=str(Path(authority.certificate)))


def test_tls_goes_through_a_proxy_that_alone_sees_its_login(
    contexts: tuple[ssl.SSLContext, ssl.SSLContext],
) -> None:
    with Web(in_turn(FOUND), context=contexts[0]) as web, tunnels() as proxy:
        server = connections(
            web.address,
            scheme="https",
            proxy=f"http://user:p%40ss@{proxy.address}",
            context=contexts[1],
        )
        assert whole(get(server)) == whole(get(server)) == b"found"
        server.close()
        (head,) = proxy.asked
        assert head.startswith(f"CONNECT {web.address} HTTP/1".encode())
        assert b"Proxy-Authorization: Basic dXNlcjpwQHNz" in head
        assert [each.target for each in web.asked] == ["/v2/", "/v2/"]
        assert all("proxy-authorization" not in each.headers for each in web.asked)


def test_without_tls_a_proxy_gets_whole_addresses_and_its_login() -> None:
    with Web(in_turn(FOUND)) as proxy:
        server = connections("registry.example.com", proxy=f"http://user@{proxy.address}/")
        assert whole(get(server, "/v2/?n=1")) == b"found"
        server.close()
        (asked,) = proxy.asked
        assert asked.target == "http://registry.example.com/v2/?n=1"
        assert asked.headers["host"] == "registry.example.com"
        assert asked.headers["proxy-authorization"] == "Basic dXNlcjo="


def test_a_server_behind_a_proxy_that_is_not_trusted_is_not_the_proxys_fault(
    contexts: tuple[ssl.SSLContext, ssl.SSLContext],
) -> None:
    strict = ssl.create_default_context()
    with Web(in_turn(FOUND), context=contexts[0]) as web, tunnels() as proxy:
        server = connections(
            web.address, scheme="https", proxy=f"http://{proxy.address}", context=strict
        )
        with pytest.raises(ssl.SSLCertVerificationError):
            get(server)


@pytest.mark.parametrize("words", ["407 Proxy Authentication Required", "is what I do not speak"])
def test_a_proxy_that_refuses_is_told_with_its_words(words: str) -> None:
    with tunnels(words) as proxy:
        server = connections(
            "registry.example.com",
            scheme="https",
            proxy=f"http://{proxy.address}",
            context=ssl.create_default_context(),
        )
        with pytest.raises(ProxyFailedError, match=words):
            get(server)


@pytest.mark.parametrize("proxy", ["http://127.0.0.1:1", "http://127.0.0.1:port", "http://"])
def test_a_proxy_that_is_not_there_is_told(proxy: str) -> None:
    with pytest.raises(ProxyFailedError):
        get(connections("registry.example.com", proxy=proxy))


@pytest.mark.parametrize("kind", ["https", "socks5"])
def test_a_proxy_of_another_kind_is_refused(kind: str) -> None:
    with pytest.raises(ProxyFailedError, match=f"{kind}:// is no kind of proxy"):
        get(connections("registry.example.com", proxy=f"{kind}://127.0.0.1:1"))
