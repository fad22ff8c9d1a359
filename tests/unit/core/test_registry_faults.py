"""What a registry says no with, and what a person is told."""

from __future__ import annotations

import json

import pytest

from builder.core.errors import PublishError
from builder.core.registry_faults import (
    BlobsMissingError,
    BrokenTransferError,
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
    broken,
    refusal,
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


@pytest.mark.parametrize(
    ("error", "kind", "transient", "text"),
    [
        (
            BrokenTransferError(7, "Failed to connect: x", number=111),
            UnreachableError,
            False,
            "nothing listens",
        ),
        (
            BrokenTransferError(6, "Could not resolve host: x", number=-2),
            UnreachableError,
            False,
            "cannot be resolved",
        ),
        (
            BrokenTransferError(6, "Could not resolve host: x", number=-3),
            UnreachableError,
            True,
            "cannot be resolved",
        ),
        (
            BrokenTransferError(7, "Failed to connect: x", number=113),
            UnreachableError,
            True,
            "broke: no route to host",
        ),
        (BrokenTransferError(28, "timed out"), UnreachableError, True, "does not answer in time"),
        (
            BrokenTransferError(56, "Recv failure: Connection reset by peer", number=104),
            UnreachableError,
            True,
            "broke: connection reset by peer",
        ),
        (
            BrokenTransferError(55, "Send failure: Broken pipe", number=32),
            UnreachableError,
            True,
            "broke: broken pipe",
        ),
        (
            BrokenTransferError(55, "Send failure: Odd", number=999),
            UnreachableError,
            True,
            "broke: odd",
        ),
        (
            BrokenTransferError(18, "end of response with 2 bytes missing"),
            UnreachableError,
            True,
            "in the middle",
        ),
        (
            BrokenTransferError(52, "Empty reply from server"),
            UnreachableError,
            True,
            "without an answer",
        ),
        (
            BrokenTransferError(8, "it does not speak HTTP, but says 'SSH-2.0'"),
            UnreachableError,
            True,
            "SSH-2.0",
        ),
        (BrokenTransferError(100, ""), UnreachableError, True, "has no end"),
        (BrokenTransferError(999, ""), UnreachableError, True, "error 999 of libcurl"),
        (
            BrokenTransferError(
                35, "TLS connect error: error:0A000126:SSL routines::unexpected eof while reading"
            ),
            UnreachableError,
            True,
            "broke",
        ),
        (
            BrokenTransferError(35, "Recv failure: Connection reset by peer", number=104),
            UnreachableError,
            True,
            "connection reset by peer",
        ),
        (
            BrokenTransferError(
                35, "TLS connect error: error:0A00010B:SSL routines::wrong version number"
            ),
            TlsError,
            False,
            "does not speak TLS",
        ),
        (
            BrokenTransferError(
                35, "TLS connect error: error:0A000410:SSL routines::handshake failure"
            ),
            TlsError,
            False,
            "not accepted: TLS connect",
        ),
        (
            BrokenTransferError(
                60, "SSL certificate problem: unable to get local issuer certificate"
            ),
            TlsError,
            False,
            "not accepted: unable to get",
        ),
        (
            BrokenTransferError(7, "CONNECT tunnel failed, response 407", proxied=True),
            UnreachableError,
            True,
            "the proxy on the way",
        ),
        (
            BrokenTransferError(5, "Could not resolve proxy: x", proxied=True),
            UnreachableError,
            True,
            "the proxy on the way",
        ),
        (BrokenTransferError(3, "no port"), ProtocolError, False, "an address that is none"),
    ],
)
def test_each_broken_transfer_has_its_class(
    error: BrokenTransferError, kind: type[RegistryError], *, transient: bool, text: str
) -> None:
    told = broken(error, "push x", HOST)
    assert type(told) is kind
    assert told.transient is transient
    assert text in told.message
    assert HOST in told.message
    assert "\n" not in told.message
