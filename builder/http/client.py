"""The one client of HTTP: requests out, replies in, over connections that are kept for the next.

Many threads use it at once, and none waits for another: each request has a handle of libcurl for
itself, and a handle goes back to those of its server when the reply is at its end. All that comes
in is bounded: the head, the body, what the body unpacks to, the silence, and the whole.
"""

from __future__ import annotations

import re
import threading
from collections import deque
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit, urlunsplit

import pycurl
from msgspec import Struct, field

from builder import __version__
from builder.core import registry_faults
from builder.core.registry_content import Content
from builder.core.registry_faults import (
    BrokenTransferError,
    ProtocolError,
    RegistryError,
    UnreachableError,
    broken,
)
from builder.core.web import proxy_for
from builder.http.handle import Handle, Limits, ShortSourceError, TooLongError, Upload
from builder.http.trust import Certificates, Trust

if TYPE_CHECKING:
    from typing_extensions import Self

# A manifest may have 4 MiB; a page of tags or of a catalog is smaller.
DOCUMENT = Limits(most=16 << 20, total_seconds=600.0)
# What is read block by block, or sent, and may be as large as anything.
STREAM = Limits()
_BLOCK = 1 << 17
_PROXIES = ("http", "https", "socks4", "socks4a", "socks5", "socks5h")
_WANT_LENGTH = ("POST", "PUT", "PATCH")
# What may stand in the path and query of an address, "%" included: it has been quoted once.
_SAFE = "/?%:@!$&'()*+,;=~[]"
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_LINE_END = re.compile(r"[\0\r\n]")
# To ask first whether a body is wanted costs more than it spares.
_LINES = ("Expect:", f"User-Agent: ocbuild/{__version__}")
_RAW_LINES = (*_LINES, "Accept-Encoding: identity")
# An address that is sent as it is.
_PLAIN = re.compile(r"(https?)://([A-Za-z0-9.-]+(?::[0-9]{1,5})?)/[!$-~]*")
_Options = list[tuple[int, Any]]


class Request(Struct, frozen=True, kw_only=True):
    """``what`` follows "cannot" in messages about it.

    A body that the server has packed is unpacked, unless ``raw``. ``unix_socket`` is where the
    server listens, if not at its name.
    """

    method: str
    url: str
    what: str
    headers: Mapping[str, str] = field(default_factory=dict)
    body: Content | None = None
    limits: Limits = DOCUMENT
    raw: bool = False
    unix_socket: str = ""

    @property
    def authority(self) -> str:
        return self.url.partition("://")[2].partition("/")[0].rpartition("@")[2]


class Traffic(Struct, frozen=True, kw_only=True):
    """What went over the wire so far; ``sent`` and ``received`` are bytes of bodies."""

    requests: int = 0
    retries: int = 0
    sent: int = 0
    received: int = 0


class Meter:
    """Counts for all threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._requests = self._retries = self._sent = self._received = 0

    @property
    def traffic(self) -> Traffic:
        with self._lock:
            return Traffic(
                requests=self._requests,
                retries=self._retries,
                sent=self._sent,
                received=self._received,
            )

    def count(
        self, *, requests: int = 0, retries: int = 0, sent: int = 0, received: int = 0
    ) -> None:
        with self._lock:
            self._requests += requests
            self._retries += retries
            self._sent += sent
            self._received += received


class Response:
    """A reply whose body is still to be read; it has its connection for itself until it is closed.

    ``headers`` has the values of each name, which is in lower case; ``reason`` is what follows the
    status.
    """

    def __init__(self, request: Request, handle: Handle, finish: Callable[[Handle], None]) -> None:
        self.status = handle.status
        self.reason = handle.reason
        self.headers = handle.headers
        self.url = request.url
        self.body = b""
        self._request = request
        self._handle: Handle | None = handle
        self._finish = finish

    def header(self, name: str) -> str | None:
        """The first value of a header."""
        values = self.headers.get(name.lower())
        return values[0] if values else None

    def read(self, size: int) -> bytes:
        """At most ``size`` bytes; none at the end, or after ``close``.

        Raises:
            RegistryError: the connection broke, or more came than the request allows.

        """
        if self._handle is None:
            return b""
        try:
            block = self._handle.read(size)
        except _FAULTS as error:
            self.close()
            raise _translated(error, self._request) from error
        except BaseException:
            self.close()
            raise
        if not block and size:
            self.close()
        return block

    def read_all(self) -> bytes:
        """All that is left, which then is its ``body``; the connection is free again."""
        if self._handle is not None:
            try:
                self.body = self._handle.read_all()
            except _FAULTS as error:
                raise _translated(error, self._request) from error
            finally:
                self.close()
        return self.body

    def close(self) -> None:
        """Give up what was not read; the connection is kept only if nothing is left."""
        handle, self._handle = self._handle, None
        if handle is not None:
            self._finish(handle)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class HttpClient:
    """Connections to all servers: up to ``connections`` are kept for each of them."""

    def __init__(
        self,
        trust: Trust,
        environ: Mapping[str, str],
        *,
        connections: int = 32,
        cancel: threading.Event | None = None,
    ) -> None:
        """``cancel`` ends all requests that are under way."""
        self.trust = trust
        self._cancel = cancel
        self.meter = Meter()
        self._environ = environ
        self._most = connections
        self._lock = threading.Lock()
        self._idle: dict[tuple[str, str], deque[Handle]] = {}
        self._roads: dict[tuple[str, str], _Options] = {}

    def open(self, request: Request) -> Response:
        """Send a request and read the head of its reply, whatever its status is.

        Raises:
            UnreachableError: nobody answered, or not in time.
            TlsError: the certificate is not trusted.
            ProtocolError: the address may not be spoken to by plain HTTP, or is none.
            InterruptedRunError: ``cancel`` was set.

        """
        try:
            key, url = _address(request)
            options = [*_options(request), *self._road(key, request)]
        except BrokenTransferError as error:
            raise _translated(error, request) from error
        self.meter.count(requests=1)
        idle = self._kept(key)
        source = None if request.body is None else request.body.open()
        upload = None
        if source is not None and request.body is not None:
            upload = Upload(source=source, size=request.body.size)
        try:
            handle = idle.pop()
        except IndexError:
            handle = Handle(self._cancel)

        def finish(handle: Handle) -> None:
            self.meter.count(sent=handle.sent, received=handle.received)
            if source is not None:
                source.close()
            handle.end()
            if len(idle) < self._most:
                idle.append(handle)
            else:
                handle.close()

        try:
            handle.begin(url, options, upload=upload, limits=request.limits)
            handle.await_head()
        except _FAULTS as error:
            finish(handle)
            raise _translated(error, request) from error
        except BaseException:
            finish(handle)
            raise
        return Response(request, handle, finish)

    def read(self, request: Request) -> Response:
        """Send a request and read the whole reply; raises as ``open`` and ``Response.read`` do."""
        response = self.open(request)
        response.read_all()
        return response

    def close(self) -> None:
        """Close all connections that are not in use, and keep none from now on."""
        self._most = 0
        with self._lock:
            idle, self._idle = self._idle, {}
        for handles in idle.values():
            while handles:
                handles.pop().close()

    def _kept(self, key: tuple[str, str]) -> deque[Handle]:
        with self._lock:
            return self._idle.setdefault(key, deque())

    def _road(self, key: tuple[str, str], request: Request) -> _Options:
        """How a server is reached and by what it is believed: the same for all requests to it."""
        road = self._roads.get(key)
        if road is None:
            if not request.unix_socket and not self.trust.allows(request.url):
                raise ProtocolError(
                    f"cannot {request.what}: {request.authority} would have to be spoken to without"
                    " TLS, which is allowed for this machine only",
                    hint=f"name {request.authority} in [publish] plain-http if that is meant",
                )
            road = self._roads[key] = self._new_road(key, request)
        return road

    def _new_road(self, key: tuple[str, str], request: Request) -> _Options:
        if request.unix_socket:
            return [(pycurl.PROXY, ""), (pycurl.UNIX_SOCKET_PATH, request.unix_socket)]
        scheme, authority = key
        proxy = proxy_for(scheme, authority, self._environ)
        options: _Options = [(pycurl.PROXY, _proxy(proxy) if proxy else "")]
        if scheme == "https":
            options += _tls(self.trust, authority)
        if proxy is not None and proxy.startswith("https:"):
            options += _proxy_tls(self.trust)
        return options


_FAULTS = (BrokenTransferError, TooLongError, ShortSourceError)


def _translated(
    error: BrokenTransferError | TooLongError | ShortSourceError, request: Request
) -> RegistryError:
    """What went wrong in words, with what to do about it."""
    if isinstance(error, BrokenTransferError):
        return broken(error, request.what, request.authority)
    if isinstance(error, TooLongError):
        return ProtocolError(
            f"cannot {request.what}: {request.authority} sends more than {request.limits.most}"
            " bytes where so much cannot be"
        )
    return UnreachableError(
        f"cannot {request.what}: its source ended {error.missing} bytes too early", transient=True
    )


def _address(request: Request) -> tuple[tuple[str, str], str]:
    """The server as the key of its connections, and the address in the characters it may have."""
    plain = _PLAIN.fullmatch(request.url)
    if plain and not request.unix_socket:
        return (plain[1], plain[2]), request.url
    try:
        parts = urlsplit(request.url)
        host, port = parts.hostname or "", parts.port
        name = host if host.isascii() else host.encode("idna").decode()
    except ValueError as error:
        raise BrokenTransferError(registry_faults.MALFORMED_URL, str(error)) from error
    if _CONTROL.search(request.url):
        text = "it has characters that none can have"
        raise BrokenTransferError(registry_faults.MALFORMED_URL, text)
    name = f"[{name}]" if ":" in name else name
    path = urlunsplit(("", "", parts.path or "/", parts.query, ""))
    if not path.isascii() or " " in path:
        path = quote(path, safe=_SAFE)
    place = name if port is None else f"{name}:{port}"
    # Who asks proves himself by headers alone.
    key = (parts.scheme, request.unix_socket or parts.netloc.rpartition("@")[2])
    return key, f"{parts.scheme}://{place}{path}"


def _options(request: Request) -> _Options:
    lines = [f"{name}: {value}" for name, value in request.headers.items()]
    if bad := next((line for line in lines if _LINE_END.search(line)), None):
        text = f"the header {bad.partition(':')[0]} has characters that none can have"
        raise BrokenTransferError(registry_faults.ODD_REPLY, text)
    lines += _RAW_LINES if request.raw else _LINES
    options: _Options = [(pycurl.HTTPHEADER, lines)]
    if not request.raw:
        # A digest is that of the bytes as they are stored; who packs them all the same is read.
        options.append((pycurl.ACCEPT_ENCODING, "identity"))
    if request.method == "HEAD":
        options.append((pycurl.NOBODY, 1))
    elif request.body is not None or request.method in _WANT_LENGTH:
        size = 0 if request.body is None else request.body.size
        options += [(pycurl.UPLOAD, 1), (pycurl.INFILESIZE_LARGE, size)]
    if request.method not in ("GET", "HEAD"):
        options.append((pycurl.CUSTOMREQUEST, request.method))
    return options


def _tls(trust: Trust, authority: str) -> _Options:
    certificates = trust.certificates(authority)
    options = _roots(certificates, pycurl.CAPATH, pycurl.CAINFO_BLOB, pycurl.CAINFO)
    if certificates.own:
        options += [(pycurl.SSLCERT, certificates.own), (pycurl.SSLKEY, certificates.key)]
    return options


def _proxy_tls(trust: Trust) -> _Options:
    certificates = trust.certificates("")
    names = (pycurl.PROXY_CAPATH, pycurl.PROXY_CAINFO_BLOB, pycurl.PROXY_CAINFO)
    return _roots(certificates, *names)


def _roots(certificates: Certificates, path: int, blob: int, file: int) -> _Options:
    """The authorities to trust; the options of a server and of a proxy have names of their own."""
    options: _Options = []
    if certificates.folders:
        options.append((path, certificates.folders))
    if certificates.more:
        options.append((blob, certificates.authorities()))
    elif certificates.bundle:
        options.append((file, certificates.bundle))
    return options


def _proxy(proxy: str) -> str:
    scheme, _, rest = proxy.partition("://")
    if scheme not in _PROXIES:
        text = f"{scheme}:// is no kind of proxy that is known here"
        raise BrokenTransferError(registry_faults.PROXY_FAILED, text, proxied=True)
    # As in Go's programs it is the proxy that looks names up.
    return f"socks5h://{rest}" if scheme == "socks5" else proxy
