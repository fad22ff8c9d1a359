"""The docker SDK with the ways to an engine that it lacks; what may fail, and how it is named.

It takes 85 ms to import, so nothing imports this module before an engine has to act.
"""

from __future__ import annotations

import weakref
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from http.client import HTTPException
from typing import Any

from docker import APIClient
from docker.errors import (
    APIError,
    DockerException,
    NotFound,
    StreamParseError,
    create_api_error_from_http_exception,
)
from docker.tls import TLSConfig
from requests import Response
from requests.adapters import HTTPAdapter
from requests.exceptions import HTTPError, RequestException
from urllib3 import exceptions
from urllib3.connection import HTTPConnection
from urllib3.connectionpool import HTTPConnectionPool

from builder.core.engine.answers import Endpoint, dial_words
from builder.core.engine.failure import NoAnswerError
from builder.system.process import Dialled, dial

REFUSED = APIError
NOT_FOUND = NotFound
FAILURES = (
    DockerException,
    StreamParseError,
    RequestException,
    exceptions.HTTPError,
    ConnectionError,
    TimeoutError,
)
# As many connections as are kept; more are opened when they are needed.
_CONNECTIONS = 64


class SdkClient(APIClient):
    """The SDK's client, which trusts the authority of its engine whatever the environment says."""

    def merge_environment_settings(
        self, url: Any, proxies: Any, stream: Any, verify: Any, cert: Any
    ) -> Any:
        # requests prefers REQUESTS_CA_BUNDLE to the certificates of its session.
        verify = self.verify if verify is None else verify
        return super().merge_environment_settings(url, proxies, stream, verify, cert)


def connect(
    endpoint: Endpoint, environ: Mapping[str, str], *, oldest: str, seconds: int
) -> SdkClient:
    """A client for the engine, which has been asked for its version.

    ``oldest`` is a version that every engine speaks, ``seconds`` the longest wait for an answer.
    """
    if endpoint.url.startswith("ssh:"):
        return _dialled(endpoint, environ, oldest, seconds)
    client = SdkClient(
        endpoint.url,
        version="auto",
        timeout=seconds,
        tls=_tls(endpoint),
        max_pool_size=_CONNECTIONS,
    )
    if endpoint.url.startswith(("tcp:", "http:", "https:")):
        for scheme in ("http://", "https://"):
            client.mount(scheme, HTTPAdapter(pool_maxsize=_CONNECTIONS))
    return client


def raise_for_status(response: Response) -> None:
    """Raise what the engine says where it says no."""
    try:
        response.raise_for_status()
    except HTTPError as error:
        with response:
            create_api_error_from_http_exception(error)


def _tls(endpoint: Endpoint) -> bool | TLSConfig:
    if endpoint.certificates is None:
        return False
    parts = {name: endpoint.certificates / f"{name}.pem" for name in ("cert", "key", "ca")}
    pair = (str(parts["cert"]), str(parts["key"])) if parts["cert"].exists() else None
    authority = str(parts["ca"]) if parts["ca"].exists() else None
    return TLSConfig(client_cert=pair, ca_cert=authority, verify=endpoint.verify)


def _dialled(
    endpoint: Endpoint, environ: Mapping[str, str], oldest: str, seconds: int
) -> SdkClient:
    """The SDK's own way by ssh needs paramiko even to start ssh, and hides what ssh says."""
    adapter = DialAdapter(dial_words(endpoint.url), environ, most=_CONNECTIONS)

    def client(version: str) -> SdkClient:
        found = SdkClient("tcp://localhost:2375", version=version, timeout=seconds)
        found.base_url = "http+docker://localhost"
        found.mount("http+docker://", adapter)
        return found

    # A client asks for the version when it is made, before another way can be mounted.
    return client(str(client(oldest).version(api_version=False)["ApiVersion"]))


class DialAdapter(HTTPAdapter):
    """Sends each request of a session by way of the program ``argv``; it is kept for the next."""

    def __init__(self, argv: Sequence[str], environ: Mapping[str, str], *, most: int) -> None:
        super().__init__()
        self._pool = _DialledPool(argv, environ, most=most)

    def get_connection_with_tls_context(self, *_arguments: Any, **_named: Any) -> Any:
        return self._pool

    def get_connection(self, *_arguments: Any, **_named: Any) -> Any:
        return self._pool

    def request_url(self, request: Any, _proxies: Any) -> str:
        path: str = request.path_url
        return path

    def close(self) -> None:
        self._pool.close()
        super().close()


class _DialledPool(HTTPConnectionPool):
    def __init__(self, argv: Sequence[str], environ: Mapping[str, str], *, most: int) -> None:
        super().__init__("localhost", maxsize=most)
        self._argv = tuple(argv)
        self._environ = environ

    def _new_conn(self) -> Any:
        self.num_connections += 1
        return _DialledConnection(self._argv, self._environ)


class _DialledConnection(HTTPConnection):
    """One program; it ends with the connection, or with our process."""

    def __init__(self, argv: Sequence[str], environ: Mapping[str, str]) -> None:
        super().__init__("localhost")
        self._argv = argv
        self._environ = environ
        self._dialled: Dialled | None = None
        self._hang_up: Any = None
        self._is_answering = False

    def connect(self) -> None:
        programs = ExitStack()
        self._dialled = programs.enter_context(dial(self._argv, env=self._environ))
        self._hang_up = weakref.finalize(self, programs.close)
        self.sock = self._dialled.socket
        # urllib3 sets it before each request; a test of its value says what it is by then.
        self.sock.settimeout(self.timeout if isinstance(self.timeout, int | float) else None)

    def getresponse(self) -> Any:
        self._is_answering = True
        try:
            return super().getresponse()
        except (OSError, HTTPException) as error:
            said = self._dialled.complaint() if self._dialled is not None else ""
            if said:
                raise NoAnswerError(said) from error
            raise
        finally:
            self._is_answering = False

    def close(self) -> None:
        super().close()
        # An answer that ends with the connection has still to be read when http.client closes it.
        if self._hang_up is not None and not self._is_answering:
            self._hang_up()
