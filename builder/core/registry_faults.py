"""All that can go wrong between us and a registry, with the remedy where we know one.

The tree::

    RegistryError                   what was tried and why it failed; exit code 4
    +-- UnreachableError                nobody answers, or the connection broke
    +-- TlsError                        the certificate is not trusted, or there is no TLS
    +-- UnauthorisedError               it wants to know who we are
    +-- ForbiddenError                  it knows, and still refuses
    +-- NotFoundError                   no such repository, tag, manifest or blob
    +-- BlobsMissingError               a manifest names blobs that its repository lacks
    +-- QuotaError                      too large, or no room left
    +-- BusyError                       429: too many requests
    +-- ServerFaultError                5xx
    +-- RefusedError                    any other 4xx
    +-- ProtocolError                   it does not keep to the protocol
    |   +-- DigestMismatchError             other content than was asked for
    +-- CredentialsError                docker's config or a credential helper cannot be used
"""

from __future__ import annotations

import errno
import re
from http import HTTPStatus
from typing import Any

from msgspec import Struct, field

from builder.core.codec import MalformedError, decode
from builder.core.errors import PublishError
from builder.core.reference import HUB

_FULL = re.compile(
    r"\bquota\b|no space left on device|disk (?:is )?full|storage limit"
    r"|exceed(?:s|ed)?\b.{0,60}\b(?:limit|size)|too large",
    re.IGNORECASE,
)
_BUSY = (HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_EARLY, HTTPStatus.TOO_MANY_REQUESTS)
_TOO_LARGE = (HTTPStatus.REQUEST_ENTITY_TOO_LARGE, HTTPStatus.INSUFFICIENT_STORAGE)
# What no repetition of the same request changes.
_LASTING = (
    HTTPStatus.NOT_IMPLEMENTED,
    HTTPStatus.HTTP_VERSION_NOT_SUPPORTED,
    HTTPStatus.NETWORK_AUTHENTICATION_REQUIRED,
)
_ABSENT = {
    "NAME_UNKNOWN": "the registry has no such repository",
    "MANIFEST_UNKNOWN": "the registry has no such tag or manifest",
    "BLOB_UNKNOWN": "the repository has no such blob",
    "BLOB_UPLOAD_UNKNOWN": "the registry no longer knows the upload",
}
# What OpenSSL says to a server that does not begin with TLS, and to one that breaks off.
_NO_TLS = ("wrong version number", "http request", "record layer failure", "unknown protocol")
_BROKEN_TLS = ("unexpected eof", "ssl_error_syscall", "ssl_error_zero_return")
# How libcurl frames what OpenSSL has against a certificate.
_VERDICT = re.compile(r"^SSL certificate (?:problem|OpenSSL verify result): | \(\d+\)$")
_BLOBS_MISSING = "MANIFEST_BLOB_UNKNOWN"
_MOST_ERRORS = 3

_TLS_WANTED = (
    "if it speaks TLS, put its CA into /etc/docker/certs.d/{host}/ca.crt: a registry on the"
    " loopback is taken to speak plain HTTP otherwise"
)


class RegistryError(PublishError):
    """``status`` and ``codes`` are the registry's own words, where it said something.

    ``retry_after`` are the seconds it asks us to wait.
    """

    def __init__(
        self,
        message: str,
        *,
        hint: str | None = None,
        transient: bool = False,
        status: int | None = None,
        codes: tuple[str, ...] = (),
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message, hint=hint, transient=transient)
        self.status = status
        self.codes = codes
        self.retry_after = retry_after


class UnreachableError(RegistryError):
    pass


class TlsError(RegistryError):
    pass


class UnauthorisedError(RegistryError):
    pass


class ForbiddenError(RegistryError):
    pass


class NotFoundError(RegistryError):
    pass


class BlobsMissingError(RegistryError):
    pass


class QuotaError(RegistryError):
    pass


class BusyError(RegistryError):
    pass


class ServerFaultError(RegistryError):
    pass


class RefusedError(RegistryError):
    pass


class ProtocolError(RegistryError):
    pass


class DigestMismatchError(ProtocolError):
    pass


class CredentialsError(RegistryError):
    pass


class _Errors(Struct, frozen=True):
    """The body of a refusal: https://distribution.github.io/distribution/spec/api/#errors."""

    errors: list[dict[str, Any]] = field(default_factory=list)


class Complaint(Struct, frozen=True, kw_only=True):
    """What a registry said about a request that it did not grant."""

    codes: tuple[str, ...] = ()
    text: str = ""

    @classmethod
    def parse(cls, body: bytes) -> Complaint:
        """The ``errors`` of a registry's reply; empty for anything else, e.g. a proxy's page."""
        try:
            errors = decode(body, _Errors, what="the reply").errors
        except MalformedError:
            return cls()
        pairs = [(str(error.get("code", "")), _said(error)) for error in errors]
        shown = [": ".join(part for part in pair if part) for pair in pairs[:_MOST_ERRORS]]
        return cls(codes=tuple(code for code, _ in pairs), text="; ".join(shown))


def _said(error: dict[str, Any]) -> str:
    message, detail = error.get("message") or "", error.get("detail")
    # A file system's complaint stands in the detail, and so does the digest of a missing blob.
    return f"{message} ({detail})" if detail and isinstance(detail, str) else str(message)


def refusal(
    what: str,
    host: str,
    status: int,
    body: bytes,
    *,
    logged_in: bool = False,
    retry_after: float | None = None,
) -> RegistryError:
    """The error for a reply that is not what was asked for; ``what`` follows "cannot"."""
    said = Complaint.parse(body)
    kind, fact, hint = _judge(host, status, said, logged_in=logged_in)
    return kind(
        f"cannot {what}: {fact}" + (f" ({said.text})" if said.text else ""),
        hint=hint,
        transient=kind in (BusyError, ServerFaultError) and status not in _LASTING,
        status=status,
        codes=said.codes,
        retry_after=retry_after,
    )


_Verdict = tuple[type[RegistryError], str, str | None]


def _judge(host: str, status: int, said: Complaint, *, logged_in: bool) -> _Verdict:
    if _is_full(status, said.text):
        remedy = f"free space or raise the limit at {host}; `ocbuild prune` removes old releases"
        return QuotaError, f"it is too large for {host}, or there is no room left", remedy
    if status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
        return _denied(host, status, logged_in=logged_in)
    if status == HTTPStatus.NOT_FOUND or _BLOBS_MISSING in said.codes:
        return _missing(said)
    if status in _BUSY or "TOOMANYREQUESTS" in said.codes:
        return BusyError, f"{host} is busy: {_phrase(status)}", None
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return ServerFaultError, f"{host} has a fault: {_phrase(status)}", None
    # Go's servers answer so, without a word of JSON, to whoever does not speak TLS.
    tls = _TLS_WANTED.format(host=host) if status == HTTPStatus.BAD_REQUEST else None
    return RefusedError, f"{host} refuses: {_phrase(status)}", tls


def _is_full(status: int, text: str) -> bool:
    may_mean_it = status in (HTTPStatus.FORBIDDEN, HTTPStatus.PRECONDITION_FAILED)
    may_mean_it |= status >= HTTPStatus.INTERNAL_SERVER_ERROR
    return status in _TOO_LARGE or (may_mean_it and bool(_FULL.search(text)))


def _denied(host: str, status: int, *, logged_in: bool) -> _Verdict:
    if status == HTTPStatus.FORBIDDEN:
        return ForbiddenError, f"{host} does not allow it", login_hint(host)
    if logged_in:
        fact = f"{host} does not accept the login that docker's config has for it"
    else:
        fact = f"{host} wants a login, and docker's config has none for it"
    return UnauthorisedError, fact, login_hint(host)


def _missing(said: Complaint) -> _Verdict:
    if _BLOBS_MISSING in said.codes:
        return BlobsMissingError, "the repository lacks blobs that the manifest names", None
    facts = (_ABSENT[code] for code in said.codes if code in _ABSENT)
    return NotFoundError, next(facts, "it is not there"), None


def unauthorised(what: str, host: str, *, logged_in: bool) -> RegistryError:
    """The error where the registry leaves us no way to prove who we are."""
    return refusal(what, host, HTTPStatus.UNAUTHORIZED, b"", logged_in=logged_in)


def login_hint(host: str) -> str:
    command = "docker login" if host == HUB else f"docker login {host}"
    return (
        f"log in with `{command}`, and check that the name is right: registries say the same of "
        "what does not exist and of what is not yours"
    )


def _phrase(status: int) -> str:
    try:
        return f"{status} {HTTPStatus(status).phrase}"
    except ValueError:
        return str(status)


class BrokenTransferError(Exception):
    """A transfer that libcurl could not bring to its end.

    ``code`` is that of https://curl.se/libcurl/c/libcurl-errors.html; ``number`` is an errno, or an
    EAI of a name that cannot be resolved, or 0. ``proxied`` says that the proxy is to blame.
    """

    def __init__(self, code: int, text: str, *, number: int = 0, proxied: bool = False) -> None:
        super().__init__(text)
        self.code = code
        self.text = text
        self.number = number
        self.proxied = proxied


# The codes of libcurl that mean something of their own here.
UNSUPPORTED_PROTOCOL, MALFORMED_URL, NO_PROXY_NAME, NO_NAME, NO_CONNECTION = 1, 3, 5, 6, 7
ODD_REPLY, PARTIAL, TIMED_OUT, TLS_FAILED, NO_ANSWER = 8, 18, 28, 35, 52
SEND_FAILED, CERTIFICATE_REFUSED, NO_REWIND, PROXY_FAILED, TOO_LARGE = 55, 60, 65, 97, 100
_EAI_AGAIN = -3
# What libcurl says itself is of its own trade.
_WORDS = {
    NO_ANSWER: "the server closed the connection without an answer",
    PARTIAL: "the server closed the connection in the middle of its answer",
    TOO_LARGE: "the head of its answer has no end",
}


def broken(error: BrokenTransferError, what: str, host: str) -> RegistryError:
    """The error for a request that got no whole reply."""
    if error.proxied:
        return UnreachableError(
            f"cannot {what}: the proxy on the way to {host} fails: {_cause(error)}",
            hint="check HTTPS_PROXY, HTTP_PROXY and NO_PROXY",
            transient=True,
        )
    if error.code == MALFORMED_URL:
        return ProtocolError(f"cannot {what}: {host} gives an address that is none: {error.text}")
    if _is_of_tls(error):
        return _tls(error.text, what, host)
    return _unreachable(error, what, host)


def _unreachable(error: BrokenTransferError, what: str, host: str) -> UnreachableError:
    if error.code == TIMED_OUT:
        return UnreachableError(f"cannot {what}: {host} does not answer in time", transient=True)
    if error.code == NO_NAME:
        return UnreachableError(
            f"cannot {what}: the name {host} cannot be resolved",
            hint="check its spelling, DNS and the proxy",
            transient=error.number == _EAI_AGAIN,
        )
    if error.code == NO_CONNECTION and error.number == errno.ECONNREFUSED:
        return UnreachableError(
            f"cannot {what}: nothing listens at {host}", hint="is the registry running?"
        )
    return UnreachableError(
        f"cannot {what}: the connection to {host} broke: {_cause(error)}", transient=True
    )


def _is_of_tls(error: BrokenTransferError) -> bool:
    if error.code == TLS_FAILED:
        return not error.number and not any(word in error.text.lower() for word in _BROKEN_TLS)
    return error.code == CERTIFICATE_REFUSED


def _tls(text: str, what: str, host: str) -> TlsError:
    if any(words in text.lower() for words in _NO_TLS):
        return TlsError(
            f"cannot {what}: {host} does not speak TLS",
            hint=f"if it is to be reached by plain HTTP, name {host} in [publish] plain-http; "
            "else give it a certificate",
        )
    return TlsError(
        f"cannot {what}: the TLS certificate of {host} is not accepted: {_VERDICT.sub('', text)}",
        hint=f"if an authority of your own signed it, put the CA into "
        f"/etc/docker/certs.d/{host}/ca.crt, or name it in SSL_CERT_FILE",
    )


def _cause(error: BrokenTransferError) -> str:
    """The fact alone, as a system would say it."""
    head, colon, tail = error.text.rpartition(": ")
    if error.number and colon and head:
        return _SYSTEM.get(error.number, tail.lower())
    return _WORDS.get(error.code, error.text) or f"error {error.code} of libcurl"


# libcurl says of a connection that cannot be made only that it cannot.
_SYSTEM = {
    errno.ECONNREFUSED: "connection refused",
    errno.EHOSTUNREACH: "no route to host",
    errno.ENETUNREACH: "network is unreachable",
    errno.ECONNRESET: "connection reset by peer",
    errno.ECONNABORTED: "software caused connection abort",
    errno.ETIMEDOUT: "connection timed out",
    errno.EPIPE: "broken pipe",
}
