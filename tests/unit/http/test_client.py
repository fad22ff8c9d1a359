"""The one client of HTTP: what is sent, how replies are understood, and when it has had enough."""

from __future__ import annotations

import gzip
import io
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings, strategies as st

from builder.core.errors import InterruptedRunError
from builder.core.registry_content import Content
from builder.core.registry_faults import ProtocolError, RegistryError, UnreachableError
from builder.http.client import DOCUMENT, STREAM, HttpClient, Request
from builder.http.handle import Limits
from builder.http.trust import Trust
from tests.support.raw import raw_server
from tests.support.web import Say, Web, in_turn

OK = b"HTTP/1.1 200 OK\r\n"
FOUND = OK + b"Content-Length: 5\r\n\r\nfound"
QUICK = Limits(most=1 << 20, read_seconds=0.3, total_seconds=20.0)


@pytest.fixture
def client() -> Iterator[HttpClient]:
    client = HttpClient(Trust(), {})
    yield client
    client.close()


def request(url: str, method: str = "GET", **more: object) -> Request:
    return Request(method=method, url=url, what="ask", **more)  # type: ignore[arg-type]


def body_of(data: bytes) -> Content:
    return Content(digest="", size=len(data), open=lambda: io.BytesIO(data))


# --- what is sent ---------------------------------------------------------------------------------


def test_a_request_is_what_http_wants(client: HttpClient) -> None:
    with raw_server([FOUND]) as server:
        asked = request(server.url, headers={"Accept": "a, b", "User-Agent": "tests"})
        assert client.read(asked).body == b"found"
        head = server.asked[0].split(b"\r\n")
    assert head[0] == b"GET /v2/ HTTP/1.1"
    assert f"Host: {server.address}".encode() in head
    assert b"Accept: a, b" in head
    assert b"Accept-Encoding: identity" in head
    assert not [line for line in head if line.lower().startswith((b"expect", b"transfer"))]


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH"])
def test_what_might_have_a_body_says_that_it_has_none(client: HttpClient, method: str) -> None:
    with raw_server([FOUND]) as server:
        client.read(request(server.url, method))
    assert server.asked[0].startswith(f"{method} /v2/".encode())
    assert b"\r\nContent-Length: 0\r\n" in server.asked[0]
    assert b"Content-Type" not in server.asked[0]


def test_a_deletion_has_no_body_and_says_nothing_of_one(client: HttpClient) -> None:
    with raw_server([FOUND]) as server:
        client.read(request(server.url, "DELETE"))
    assert server.asked[0].startswith(b"DELETE /v2/ HTTP/1.1\r\n")
    assert b"Content-Length" not in server.asked[0]


@pytest.mark.parametrize("size", [0, 1, 200_000, 5_000_000])
def test_a_body_arrives_whole_however_large(client: HttpClient, size: int) -> None:
    data = bytes(range(256)) * (size // 256) + bytes(size % 256)
    with Web(in_turn(Say(status=201))) as web:
        reply = client.read(request(f"http://{web.address}/x", "PUT", body=body_of(data)))
        assert reply.status == 201
        assert web.asked[0].body == data
        assert web.asked[0].headers["content-length"] == str(size)
    assert client.meter.traffic.sent == size


def test_a_source_with_more_than_was_promised_is_read_no_further(client: HttpClient) -> None:
    content = Content(digest="", size=3, open=lambda: io.BytesIO(b"abcdef"))
    with Web(in_turn(Say())) as web:
        client.read(request(f"http://{web.address}/x", "POST", body=content))
        assert web.asked[0].body == b"abc"


class Broken(io.BytesIO):
    closings = 0

    def read(self, size: int | None = -1, /) -> bytes:
        raise OSError(5, "Input/output error")

    def close(self) -> None:
        Broken.closings += 1
        super().close()


def test_a_source_that_cannot_be_read_is_told_as_it_is_and_closed(
    client: HttpClient, capfd: pytest.CaptureFixture[str]
) -> None:
    content = Content(digest="", size=3, open=Broken)
    with Web(in_turn(Say())) as web, pytest.raises(OSError, match="Input/output error"):
        client.read(request(f"http://{web.address}/x", "PUT", body=content))
    assert Broken.closings == 1
    assert capfd.readouterr() == ("", "")


def test_a_body_is_not_sent_twice_by_itself(client: HttpClient) -> None:
    """A kept connection that breaks is libcurl's to replace, but an upload is begun anew above."""
    with raw_server([FOUND], [], [FOUND], []) as server:
        for _ in range(2):
            client.read(request(server.url))
        assert len(server.asked) == 3
        with pytest.raises(UnreachableError, match="broke"):
            client.read(request(server.url, "PUT", body=body_of(b"abc")))
        assert [asked.split()[0] for asked in server.asked] == [b"GET", b"GET", b"GET", b"PUT"]


def test_who_does_not_want_the_body_is_heard_all_the_same(client: HttpClient) -> None:
    refusal = b"HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\n\r\nno!"
    with raw_server([refusal, 0.5]) as server:
        reply = client.read(request(server.url, "PUT", body=body_of(bytes(64 << 20))))
    assert (reply.status, reply.reason, reply.body) == (413, "Too Large", b"no!")


@pytest.mark.parametrize("target", ["/v2/\r\nX: y", "/\x7f", "/\0"])
def test_an_address_cannot_smuggle_anything_in(client: HttpClient, target: str) -> None:
    with Web(in_turn(Say())) as web:
        with pytest.raises(ProtocolError, match="characters that none can have"):
            client.read(request(f"http://{web.address}{target}"))
        assert web.asked == []


def test_a_header_cannot_smuggle_anything_in(client: HttpClient) -> None:
    with Web(in_turn(Say())) as web:
        with pytest.raises(RegistryError, match="Authorization has characters"):
            client.read(
                request(f"http://{web.address}/", headers={"Authorization": "Bearer a\r\nX: y"})
            )
        assert web.asked == []


def test_an_address_is_sent_in_the_characters_that_it_may_have(client: HttpClient) -> None:
    with Web(in_turn(Say())) as web:
        for path in ("/v2/a b/é?x=%20&y=ü", "/v2/a?_state=a%2Fb=#part", "/a/../b/./c", ""):
            client.read(request(f"http://{web.address}{path}"))
        assert [asked.target for asked in web.asked] == [
            "/v2/a%20b/%C3%A9?x=%20&y=%C3%BC",
            "/v2/a?_state=a%2Fb=",
            "/a/../b/./c",
            "/",
        ]


@pytest.mark.parametrize(
    "url", ["http://host:port/", "http://[::1/", "http://:5000/", f"https://{'é' * 64}.example/"]
)
def test_an_address_that_is_none_is_told_as_such(url: str) -> None:
    client = HttpClient(Trust(plain_to_anybody=True), {})
    with pytest.raises(ProtocolError, match="an address that is none"):
        client.read(request(url))


def test_a_login_within_an_address_is_sent_to_nobody(client: HttpClient) -> None:
    with Web(in_turn(Say())) as web:
        client.read(request(f"http://user:password@{web.address}/"))
        assert "authorization" not in web.asked[0].headers


def test_a_redirect_is_a_reply_like_any_other(client: HttpClient) -> None:
    with Web(in_turn(Say(status=307, headers={"Location": "/elsewhere"}))) as web:
        assert client.read(request(f"http://{web.address}/")).status == 307
        assert len(web.asked) == 1


# --- how replies are understood -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("reply", "body"),
    [
        (FOUND, b"found"),
        (OK + b"Transfer-Encoding: chunked\r\n\r\n3\r\nfou\r\n2\r\nnd\r\n0\r\n\r\n", b"found"),
        (OK + b"Transfer-Encoding: chunked\r\n\r\n5\r\nfound\r\n0\r\nX-After: y\r\n\r\n", b"found"),
        (b"HTTP/1.1 204 No Content\r\n\r\n", b""),
        (b"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n", b""),
        (b"HTTP/1.1 100 Continue\r\n\r\n" + FOUND, b"found"),
        (b"HTTP/1.1 103 Early Hints\r\nLink: <a>\r\n\r\n" + FOUND, b"found"),
    ],
)
@pytest.mark.parametrize("size", [1, 7, 1000])
def test_a_reply_ends_where_it_says(
    client: HttpClient, reply: bytes, body: bytes, size: int
) -> None:
    pieces = [reply[start : start + size] for start in range(0, len(reply), size)]
    with raw_server(pieces, [FOUND]) as server:
        response = client.open(request(server.url))
        assert b"".join(iter(lambda: response.read(2), b"")) == body
        assert response.read(1) == b""
        assert "link" not in response.headers
        assert "x-after" not in response.headers
        # It has left nothing behind on its connection.
        assert client.read(request(server.url)).body == b"found"
        assert server.connections == 1


@pytest.mark.parametrize("head", [OK, b"HTTP/1.0 200 OK\r\n", OK + b"Connection: close\r\n"])
def test_a_reply_without_a_length_ends_with_its_connection(client: HttpClient, head: bytes) -> None:
    with raw_server([head + b"\r\n", b"fou", b"nd"], [FOUND], stays=False) as server:
        assert client.read(request(server.url)).body == b"found"
        assert client.read(request(server.url)).body == b"found"
        assert server.connections == 2


@pytest.mark.parametrize(
    "length", [b"Content-Length: 1000\r\n", b"Transfer-Encoding: chunked\r\n", b""]
)
def test_a_head_has_no_body_whatever_it_says(client: HttpClient, length: bytes) -> None:
    with raw_server([OK + length + b"\r\n"], [FOUND]) as server:
        assert client.read(request(server.url, "HEAD")).body == b""
        assert client.read(request(server.url)).body == b"found"
        assert server.connections == 1


def test_values_of_a_header_that_is_there_twice_are_all_kept(client: HttpClient) -> None:
    reply = OK + b"A: 1\r\na:2\r\nContent-Length: 0\r\n\r\n"
    with raw_server([reply]) as server:
        response = client.read(request(server.url))
    assert response.headers["a"] == ["1", "2"]
    assert response.header("A") == "1"
    assert response.header("B") is None


@pytest.mark.parametrize(
    ("reply", "told"),
    [
        (b"", "without an answer"),
        (OK, "without an answer"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "does not speak HTTP, but says 'SSH-2.0-OpenSSH_9.2'"),
        (b"HTTP/1.1 is odd\r\n\r\n", "broke"),
        (FOUND[:-1], "in the middle"),
        (OK + b"Transfer-Encoding: chunked\r\n\r\n5\r\nfou", "in the middle"),
        (OK + b"Transfer-Encoding: chunked\r\n\r\nodd\r\n", "broke"),
    ],
)
def test_what_is_no_whole_reply_is_told_as_such(
    client: HttpClient, reply: bytes, told: str
) -> None:
    with (
        raw_server([reply], stays=False) as server,
        pytest.raises(UnreachableError, match=told) as caught,
    ):
        client.read(request(server.url))
    assert caught.value.transient
    assert "\n" not in caught.value.message


def test_a_server_behind_a_unix_socket_is_asked_there(client: HttpClient, tmp_path: Path) -> None:
    path = tmp_path / "socket"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()

        def answer() -> None:
            here, _ = listener.accept()
            with here:
                here.recv(1 << 16)
                here.sendall(FOUND)

        thread = threading.Thread(target=answer)
        thread.start()
        asked = request("http://localhost/info", unix_socket=str(path))
        assert client.read(asked).body == b"found"
        thread.join()
    with pytest.raises(UnreachableError, match="nothing listens"):
        client.read(asked)


# --- connections ----------------------------------------------------------------------------------


def test_a_connection_is_kept_once_its_reply_is_read(client: HttpClient) -> None:
    with Web(in_turn(Say(body=b"found"))) as web:
        for _ in range(3):
            assert client.read(request(f"http://{web.address}/")).body == b"found"
        assert web.connections == 1


def test_what_is_not_read_to_its_end_takes_its_connection_with_it(client: HttpClient) -> None:
    with Web(in_turn(Say(body=bytes(16 << 20)), Say(body=b"found"))) as web:
        with client.open(request(f"http://{web.address}/", limits=STREAM)) as response:
            assert response.read(10) == bytes(10)
        assert response.read(1) == b""
        assert client.read(request(f"http://{web.address}/")).body == b"found"
        assert web.connections == 2


def test_what_has_come_need_not_be_read_for_its_connection_to_be_kept(client: HttpClient) -> None:
    with Web(in_turn(Say(status=401), Say(body=b"found"))) as web:
        client.open(request(f"http://{web.address}/")).close()
        assert client.read(request(f"http://{web.address}/")).body == b"found"
        assert web.connections == 1


def test_no_more_are_kept_than_wanted_and_none_after_the_end() -> None:
    client = HttpClient(Trust(), {}, connections=1)
    with Web(in_turn(Say(body=b"found"))) as web:
        asked = request(f"http://{web.address}/")
        first, second = client.open(asked), client.open(asked)
        assert first.read_all() == second.read_all() == b"found"
        third = client.open(asked)
        assert web.connections == 2
        client.close()
        assert third.read_all() == client.read(asked).body == b"found"
        assert web.connections == 3


def test_who_forgets_to_close_leaves_none_open() -> None:
    client = HttpClient(Trust(), {})
    with raw_server([FOUND]) as server:
        client.read(request(server.url))
        (handles,) = client._idle.values()
        (handle,) = handles
        before = _open_sockets()
        del client, handles, handle
        assert _open_sockets() < before


def _open_sockets() -> int:
    return sum(
        path.readlink().as_posix().startswith("socket:")
        for path in Path("/proc/self/fd").iterdir()
        if path.is_symlink()
    )


def test_a_connection_that_the_server_has_closed_is_not_used_again(client: HttpClient) -> None:
    with raw_server([FOUND], [FOUND], stays=False) as server:
        for _ in range(2):
            assert client.read(request(server.url)).body == b"found"
        assert server.connections == 2


def test_many_threads_have_a_connection_each_and_share_them_afterwards(client: HttpClient) -> None:
    start = threading.Barrier(8)
    bodies: list[bytes] = []

    def ask() -> None:
        start.wait(timeout=30)
        asked = request(f"http://{web.address}/")
        bodies.extend(client.read(asked).body for _ in range(10))

    with Web(lambda asked: Say(body=b"found")) as web:
        threads = [threading.Thread(target=ask) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert web.connections <= 8
    assert bodies == [b"found"] * 80
    assert client.meter.traffic.requests == 80
    assert client.meter.traffic.received == 400


# --- when it has had enough -----------------------------------------------------------------------


@pytest.mark.parametrize(
    "reply",
    [
        pytest.param([OK + b"X: " + b"y" * (1 << 20)], id="a line"),
        pytest.param([OK + b"X: y\r\n" * (1 << 17)], id="lines"),
        pytest.param([b"HTTP/1.1 103 Early\r\nX: y\r\n\r\n" * (1 << 14)], id="heads"),
    ],
)
def test_a_head_without_end_is_given_up(client: HttpClient, reply: list[bytes]) -> None:
    with (
        raw_server(reply) as server,
        pytest.raises(UnreachableError, match=r"has no end|Too many response headers"),
    ):
        client.read(request(server.url))
    assert client.meter.traffic.received == 0


@pytest.mark.parametrize("promised", [b"", b"Content-Length: 1000000000\r\n"])
def test_a_body_is_read_up_to_what_it_may_have_and_no_further(
    client: HttpClient, promised: bytes
) -> None:
    endless = [OK + promised + b"\r\n", *([bytes(1 << 16)] * 500)]
    limits = Limits(most=1 << 20)
    with (
        raw_server(endless) as server,
        pytest.raises(ProtocolError, match="sends more than 1048576 bytes") as caught,
    ):
        client.read(request(server.url, limits=limits))
    assert not caught.value.transient
    assert client.meter.traffic.received < 2 << 20


def test_a_body_of_just_that_size_is_taken(client: HttpClient) -> None:
    with Web(in_turn(Say(body=bytes(1000)))) as web:
        asked = request(f"http://{web.address}/", limits=Limits(most=1000))
        assert client.read(asked).body == bytes(1000)


def test_what_a_body_unpacks_to_is_bounded(client: HttpClient) -> None:
    bomb = gzip.compress(bytes(64 << 20))
    with (
        Web(in_turn(Say(body=bomb, headers={"Content-Encoding": "gzip"}))) as web,
        pytest.raises(ProtocolError, match="sends more than 1048576 bytes"),
    ):
        client.read(request(f"http://{web.address}/", limits=Limits(most=1 << 20)))
    assert client.meter.traffic.received < 2 << 20


@pytest.mark.parametrize("raw", [True, False])
def test_what_is_packed_without_being_asked_is_unpacked_or_left_as_it_is(
    client: HttpClient, *, raw: bool
) -> None:
    packed = gzip.compress(b"found")
    with Web(in_turn(Say(body=packed, headers={"Content-Encoding": "gzip"}))) as web:
        reply = client.read(request(f"http://{web.address}/", raw=raw))
        assert reply.body == (packed if raw else b"found")
        assert web.asked[0].headers["accept-encoding"] == "identity"


@pytest.mark.parametrize(
    "reply",
    [
        pytest.param([30.0], id="no word"),
        pytest.param([OK, 30.0], id="half a head"),
        pytest.param([FOUND[:-2], 30.0], id="half a body"),
        pytest.param([OK + b"\r\n", *([b"x", 0.05] * 400)], id="drop by drop"),
    ],
)
def test_a_server_that_is_too_slow_is_not_waited_for(
    client: HttpClient, reply: list[bytes | float]
) -> None:
    started = time.monotonic()
    with (
        raw_server(reply) as server,
        pytest.raises(UnreachableError, match="does not answer in time") as caught,
    ):
        client.read(request(server.url, limits=QUICK))
    assert caught.value.transient
    assert 0.2 < time.monotonic() - started < 10


def test_what_goes_on_steadily_has_all_the_time_it_needs(client: HttpClient) -> None:
    steps: list[bytes | float] = [bytes(2000), 0.1]
    blocks = [OK + b"Content-Length: 20000\r\n\r\n", *steps * 10]
    with raw_server(blocks) as server:
        reply = client.read(request(server.url, limits=QUICK))
    assert reply.body == bytes(20000)


def test_the_whole_has_an_end_however_steadily_it_goes_on(client: HttpClient) -> None:
    steps: list[bytes | float] = [bytes(5000), 0.05]
    blocks = [OK + b"\r\n", *steps * 400]
    limits = Limits(most=1 << 30, read_seconds=10.0, total_seconds=0.5)
    with (
        raw_server(blocks) as server,
        pytest.raises(UnreachableError, match="does not answer in time"),
    ):
        client.read(request(server.url, limits=limits))


def test_whoever_does_not_read_for_a_while_is_not_taken_for_a_slow_server(
    client: HttpClient,
) -> None:
    with Web(in_turn(Say(body=bytes(8 << 20)))) as web:
        limits = Limits(read_seconds=0.2)
        with client.open(request(f"http://{web.address}/", limits=limits)) as response:
            response.read(1)
            time.sleep(0.4)
            assert len(b"".join(iter(lambda: response.read(1 << 16), b""))) == (8 << 20) - 1


def test_a_stopped_run_ends_what_is_under_way() -> None:
    cancel = threading.Event()
    client = HttpClient(Trust(), {}, cancel=cancel)
    threading.Timer(0.1, cancel.set).start()
    started = time.monotonic()
    with raw_server([30.0]) as server, pytest.raises(InterruptedRunError):
        client.read(request(server.url))
    assert time.monotonic() - started < 10


def test_where_nothing_listens_is_said_at_once(client: HttpClient) -> None:
    with Web(in_turn(Say())) as web:
        pass
    with pytest.raises(UnreachableError, match=f"nothing listens at {web.address}") as caught:
        client.read(request(f"http://{web.address}/"))
    assert not caught.value.transient


def test_nothing_is_sent_without_tls_to_whom_it_is_not_allowed(client: HttpClient) -> None:
    with pytest.raises(ProtocolError, match="without TLS") as caught:
        client.read(request("http://registry.example.com/v2/"))
    assert "plain-http" in str(caught.value.hint)
    assert client.meter.traffic.requests == 0


# --- any reply, in any pieces ---------------------------------------------------------------------

NAMES = st.from_regex(r"\AX-[A-Za-z]{1,8}\Z")
VALUES = st.from_regex(r"\A[!-~]([ -~]{0,20}[!-~])?\Z")


@st.composite
def replies(draw: st.DrawFn) -> tuple[bytes, int, dict[str, list[str]], bytes]:
    """The bytes of a reply, and what they say: status, headers, body."""
    status = draw(st.sampled_from([200, 201, 202, 307, 400, 401, 404, 500, 503]))
    pairs = draw(st.lists(st.tuples(NAMES, VALUES), max_size=6))
    blocks = draw(st.lists(st.binary(min_size=1, max_size=60), max_size=4))
    body = b"".join(blocks)
    lines = [f"HTTP/1.1 {status} Word", *(f"{name}: {value}" for name, value in pairs)]
    if draw(st.booleans()):
        lines.append(f"Content-Length: {len(body)}")
        sent = body
    else:
        lines.append("Transfer-Encoding: chunked")
        sent = b"".join(b"%x\r\n%b\r\n" % (len(block), block) for block in blocks) + b"0\r\n\r\n"
    headers: dict[str, list[str]] = {}
    for name, value in pairs:
        headers.setdefault(name.lower(), []).append(value)
    return "\r\n".join([*lines, "", ""]).encode() + sent, status, headers, body


SHARED = HttpClient(Trust(), {})


@settings(max_examples=75, deadline=None)
@given(replies(), st.integers(1, 80), st.integers(1, 80))
def test_a_reply_is_the_same_in_whatever_pieces_it_comes(
    reply: tuple[bytes, int, dict[str, list[str]], bytes], piece: int, size: int
) -> None:
    data, status, headers, body = reply
    pieces = [data[start : start + piece] for start in range(0, len(data), piece)]
    with raw_server(pieces) as server, SHARED.open(request(server.url)) as response:
        blocks = list(iter(lambda: response.read(size), b""))
        assert all(len(block) <= size for block in blocks)
        assert b"".join(blocks) == body
        assert response.status == status
        assert {name: response.headers[name] for name in headers} == headers


def test_the_limits_of_documents_are_what_they_are_said_to_be() -> None:
    assert (DOCUMENT.most, DOCUMENT.total_seconds) == (16 << 20, 600.0)
