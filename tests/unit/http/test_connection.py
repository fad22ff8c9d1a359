"""One HTTP/1.1 connection: what is sent, and how a reply is understood, whole or in pieces."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import pytest
from hypothesis import given, settings, strategies as st

from builder.http.connection import BadAddressError, Connection, HttpError, Reply, open_socket

OK = b"HTTP/1.1 200 OK\r\n"
FOUND = OK + b"Content-Length: 5\r\n\r\nfound"


class Server:
    """The other end of a socket: it reads one request, and says what it was given, in pieces."""

    def __init__(self, pieces: Sequence[bytes], *, stays: bool) -> None:
        self.ours, self._theirs = socket.socketpair()
        self._pieces = pieces
        self._stays = stays
        self.asked = b""
        self._thread = threading.Thread(target=self._answer)
        self._thread.start()

    def _answer(self) -> None:
        self._theirs.settimeout(10)
        while b"\r\n\r\n" not in self.asked:
            self.asked += self._theirs.recv(1 << 16)
        for piece in self._pieces:
            self._theirs.sendall(piece)
        if not self._stays:
            self._theirs.close()

    def close(self) -> None:
        self._thread.join()
        self.ours.close()
        self._theirs.close()


@contextmanager
def server(*pieces: bytes, stays: bool = True) -> Iterator[Server]:
    made = Server(pieces, stays=stays)
    try:
        yield made
    finally:
        made.close()


def ask(
    there: Server,
    method: str = "GET",
    target: str = "/v2/",
    headers: Mapping[str, str] | None = None,
) -> Reply:
    return Connection(there.ours, "example.com").send(
        method, target, headers=headers or {}, read_seconds=10.0
    )


def whether_freed(reply: Reply) -> bool:
    freed: list[Connection] = []
    reply.freed = freed.append
    reply.read(1)
    reply.close()
    return bool(freed)


def test_a_request_is_what_http_wants() -> None:
    with server(FOUND) as there:
        assert ask(there, headers={"Accept": "a, b"}).read_all() == b"found"
    assert there.asked == b"GET /v2/ HTTP/1.1\r\nHost: example.com\r\nAccept: a, b\r\n\r\n"


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH"])
def test_what_might_have_a_body_says_that_it_has_none(method: str) -> None:
    with server(FOUND) as there:
        ask(there, method)
    assert b"\r\nContent-Length: 0\r\n" in there.asked


def test_a_body_follows_in_all_its_pieces() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.sendall(FOUND)
        connection = Connection(ours, "example.com")
        headers = {"Content-Length": "6"}
        body = iter([b"ab", b"cd", b"ef"])
        reply = connection.send("PUT", "/", headers=headers, body=body, read_seconds=10.0)
        assert reply.status == 200
        assert theirs.recv(1 << 16).endswith(b"Content-Length: 6\r\n\r\nabcdef")


def test_who_does_not_want_the_body_is_heard_all_the_same_but_not_asked_again() -> None:
    ours, theirs = socket.socketpair()
    with ours:
        theirs.sendall(b"HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\n\r\nno!")
        theirs.shutdown(socket.SHUT_RD)
        headers = {"Content-Length": str(64 << 20)}
        body = iter([bytes(1 << 20)] * 64)
        reply = Connection(ours, "h").send("PUT", "/", headers=headers, body=body, read_seconds=5.0)
        assert (reply.status, reply.reason) == (413, "Too Large")
        assert not whether_freed(reply)
        theirs.close()


@pytest.mark.parametrize("target", ["/v2/a b", "/v2/\r\nX: y", "/\x7f", "/\0"])
def test_an_address_cannot_smuggle_anything_in(target: str) -> None:
    with server(FOUND) as there:
        with pytest.raises(BadAddressError, match="no address can have"):
            ask(there, target=target)
        ask(there)


def test_a_header_cannot_smuggle_anything_in() -> None:
    with server(FOUND) as there:
        with pytest.raises(HttpError, match="Authorization has characters"):
            ask(there, headers={"Authorization": "Bearer a\r\nX: y"})
        ask(there)


@pytest.mark.parametrize(
    ("reply", "body", "stays"),
    [
        (FOUND, b"found", True),
        (
            OK + b"Transfer-Encoding: chunked\r\n\r\n3\r\nfou\r\n2\r\nnd\r\n0\r\n\r\n",
            b"found",
            True,
        ),
        (b"HTTP/1.1 204 No Content\r\n\r\n", b"", True),
        (b"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n", b"", True),
        (OK + b"Connection: close\r\nContent-Length: 5\r\n\r\nfound", b"found", False),
        (b"HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nfound", b"found", False),
        (b"HTTP/1.1 100 Continue\r\n\r\n" + FOUND, b"found", True),
        (b"HTTP/1.1 103 Early Hints\r\nLink: <a>\r\n\r\n" + FOUND, b"found", True),
        (FOUND + b"and more", b"found", False),
        (FOUND + FOUND, b"found", False),
    ],
)
@pytest.mark.parametrize("size", [1, 1000])
def test_a_reply_ends_where_it_says(reply: bytes, body: bytes, size: int, *, stays: bool) -> None:
    pieces = [reply[start : start + size] for start in range(0, len(reply), size)]
    with server(*pieces) as there:
        said = ask(there)
        there._thread.join()
        freed: list[Connection] = []
        said.freed = freed.append
        assert b"".join(iter(lambda: said.read(2), b"")) == body
        assert "link" not in said.headers
        if size > 1 or not reply.startswith(FOUND):
            assert bool(freed) == stays
        elif freed:  # what comes behind it is seen when the next request is to be sent
            assert freed[0].has_ended == (len(reply) > len(FOUND))


def test_a_reply_without_a_length_ends_with_its_connection() -> None:
    with server(OK + b"\r\n", b"fou", b"nd", stays=False) as there:
        reply = ask(there)
        freed: list[Connection] = []
        reply.freed = freed.append
        assert reply.read_all() == b"found"
        assert not freed


@pytest.mark.parametrize(
    "length", [b"Content-Length: 1000\r\n", b"Transfer-Encoding: chunked\r\n", b""]
)
def test_a_head_has_no_body_whatever_it_says(length: bytes) -> None:
    with server(OK + length + b"\r\n") as there:
        reply = ask(there, "HEAD")
        assert reply.read(10) == b""
        assert reply._connection is None
    with server(OK + length + b"\r\n") as there:
        freed: list[Connection] = []
        reply = ask(there, "HEAD")
        reply.freed = freed.append
        reply.close()
        assert len(freed) == 1


def test_a_body_that_a_head_must_not_have_spoils_the_connection() -> None:
    with server(FOUND) as there:
        assert not whether_freed(ask(there, "HEAD"))


@pytest.mark.parametrize(
    ("reply", "told"),
    [
        (b"", "without an answer"),
        (OK, "without an answer"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "does not speak HTTP, but says 'SSH-2.0-OpenSSH_9.2'"),
        (b"HTTP/1.1 is odd\r\n\r\n", "but says 'HTTP/1.1 is odd'"),
        (OK + b"X: " + b"y" * (1 << 20), "no end of headers"),
        (FOUND[:-1], "in the middle"),
        (OK + b"Transfer-Encoding: chunked\r\n\r\n5\r\nfou", "in the middle"),
        (OK + b"Transfer-Encoding: chunked\r\n\r\nodd\r\n", "breaks off HTTP"),
    ],
)
def test_what_is_no_whole_reply_is_told_as_such(reply: bytes, told: str) -> None:
    ours, theirs = socket.socketpair()
    with ours:
        sender = threading.Thread(target=_send_and_close, args=(theirs, reply))
        sender.start()
        with pytest.raises(HttpError, match=told):
            Connection(ours, "h").send("GET", "/", headers={}, read_seconds=10.0).read_all()
        ours.close()
        sender.join()


def _send_and_close(sock: socket.socket, data: bytes) -> None:
    with sock:
        try:
            sock.sendall(data)
            sock.shutdown(socket.SHUT_WR)
            sock.recv(1 << 16)
        except OSError:
            pass  # the other end has heard enough


def test_a_closed_reply_gives_nothing_more() -> None:
    with server(FOUND[:-1]) as there:
        reply = ask(there)
        reply.read(100)
        reply.close()
        with pytest.raises(HttpError, match="was closed"):
            reply.read(1)


def test_a_name_that_nobody_can_have_is_told_as_such() -> None:
    with pytest.raises(BadAddressError):
        open_socket("é" * 64 + ".example", 80, seconds=1.0)


# -- any reply, in any pieces ----------------------------------------------------------------------

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


@settings(max_examples=150, deadline=None)
@given(replies(), st.integers(1, 80), st.integers(1, 80))
def test_a_reply_is_the_same_in_whatever_pieces_it_comes(
    reply: tuple[bytes, int, dict[str, list[str]], bytes], piece: int, size: int
) -> None:
    data, status, headers, body = reply
    pieces = [data[start : start + piece] for start in range(0, len(data), piece)]
    with server(*pieces) as there:
        said = ask(there)
        freed: list[Connection] = []
        said.freed = freed.append
        blocks = list(iter(lambda: said.read(size), b""))
        assert all(len(block) <= size for block in blocks)
        assert b"".join(blocks) == body
        assert said.status == status
        assert {name: said.headers[name] for name in headers} == headers
        assert freed
