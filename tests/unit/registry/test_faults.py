"""What a registry says no with, and what a person is told."""

from __future__ import annotations

import json
import socket
import ssl

import pytest

from builder.core.errors import PublishError
from builder.http.connection import BadAddressError, HttpError
from builder.http.pool import ProxyFailedError
from builder.registry.faults import (
    BlobsMissingError,
    BusyError,
    ForbiddenError,
    NotFoundError,
    ProtocolError,
    QuotaError,
    RefusedError,
    RegistryError,
    ServerFaultError,
    TlsError,
    UnauthorisedError,
    UnreachableError,
    refusal,
    translated,
)

HOST = "registry.example.com"


def said(code: str, message: str = "", detail: object = None) -> bytes:
    return json.dumps({"errors": [{"code": code, "message": message, "detail": detail}]}).encode()


@pytest.mark.parametrize(
    ("status", "body", "kind", "transient"),
    [
        (400, said("MANIFEST_INVALID"), RefusedError, False),
        (400, said("MANIFEST_BLOB_UNKNOWN"), BlobsMissingError, False),
        (404, said("MANIFEST_BLOB_UNKNOWN"), BlobsMissingError, False),
        (401, said("UNAUTHORIZED"), UnauthorisedError, False),
        (403, said("DENIED"), ForbiddenError, False),
        (403, said("DENIED", "adding 1 MiB of storage exceeds the upper limit"), QuotaError, False),
        (403, said("DENIED", "storage quota reached"), QuotaError, False),
        (404, said("NAME_UNKNOWN"), NotFoundError, False),
        (404, b"<html>not found</html>", NotFoundError, False),
        (405, said("UNSUPPORTED"), RefusedError, False),
        (413, b"", QuotaError, False),
        (507, b"", QuotaError, False),
        (500, said("UNKNOWN", "", "write /var: no space left on device"), QuotaError, False),
        (408, b"", BusyError, True),
        (429, said("TOOMANYREQUESTS"), BusyError, True),
        (500, b"", ServerFaultError, True),
        (502, b"<html>", ServerFaultError, True),
        (503, b"", ServerFaultError, True),
        (599, b"", ServerFaultError, True),
        (501, b"", ServerFaultError, False),
    ],
)
def test_each_refusal_has_its_class(
    status: int, body: bytes, kind: type[RegistryError], *, transient: bool
) -> None:
    error = refusal("push x", HOST, status, body)
    assert type(error) is kind
    assert error.transient is transient
    assert error.status == status
    assert isinstance(error, PublishError)
    assert error.message.startswith("cannot push x: ")


def test_the_words_of_the_registry_are_passed_on() -> None:
    error = refusal("read r/a:1", HOST, 404, said("MANIFEST_UNKNOWN", "unknown tag=1"))
    assert error.codes == ("MANIFEST_UNKNOWN",)
    assert error.message == (
        "cannot read r/a:1: the registry has no such tag or manifest"
        " (MANIFEST_UNKNOWN: unknown tag=1)"
    )


@pytest.mark.parametrize(
    "body", [b"", b"null", b"[]", b'{"errors": null}', b'{"errors": [1]}', b"\xff"]
)
def test_a_reply_that_is_no_complaint_is_no_obstacle(body: bytes) -> None:
    assert refusal("x", HOST, 500, body).message == (
        f"cannot x: {HOST} has a fault: 500 Internal Server Error"
    )


def test_a_login_that_is_missing_is_told_from_one_that_is_wrong() -> None:
    missing = refusal("push x", HOST, 401, b"")
    wrong = refusal("push x", "docker.io", 401, b"", logged_in=True)
    assert "has none for it" in missing.message
    assert f"`docker login {HOST}`" in str(missing.hint)
    assert "does not accept the login" in wrong.message
    assert "`docker login`" in str(wrong.hint)


def caused(outer: Exception, inner: BaseException) -> Exception:
    outer.__cause__ = inner
    return outer


@pytest.mark.parametrize(
    ("error", "kind", "transient", "text"),
    [
        (ConnectionRefusedError(111, "refused"), UnreachableError, False, "nothing listens"),
        (socket.gaierror(socket.EAI_NONAME, "x"), UnreachableError, False, "cannot be resolved"),
        (socket.gaierror(socket.EAI_AGAIN, "x"), UnreachableError, True, "cannot be resolved"),
        (OSError(113, "No route to host"), UnreachableError, True, "no route to host"),
        (TimeoutError("timed out"), UnreachableError, True, "in time"),
        (ConnectionResetError(104, "Reset by peer"), UnreachableError, True, "reset by peer"),
        (HttpError("in the middle"), UnreachableError, True, "in the middle"),
        (HttpError("SSH-2.0"), UnreachableError, True, "SSH-2.0"),
        (ssl.SSLEOFError(8, "EOF occurred"), UnreachableError, True, "broke"),
        (ssl.SSLError(1, "[SSL] odd"), TlsError, False, "not accepted"),
        (ProxyFailedError("Tunnel failed: 407"), UnreachableError, True, "the proxy"),
        (
            caused(ProxyFailedError("x"), ssl.SSLError(1, "[SSL] odd")),
            UnreachableError,
            True,
            "the proxy",
        ),
        (BadAddressError("no port"), ProtocolError, False, "an address that is none"),
        (HttpError("something new"), UnreachableError, True, "something new"),
    ],
)
def test_each_broken_exchange_has_its_class(
    error: Exception, kind: type[RegistryError], *, transient: bool, text: str
) -> None:
    found = translated(error, "push x", HOST)
    assert type(found) is kind
    assert found.transient is transient
    assert text in found.message
    assert HOST in found.message
