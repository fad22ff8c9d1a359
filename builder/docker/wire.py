"""The connection to a Docker Engine: opened when it is used, shared by all threads."""

from __future__ import annotations

import base64
import json
import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, cast

from builder.core.engine.answers import EngineInfo, messages
from builder.core.errors import BuildError, EngineUnavailableError, OcbuildError, PublishError
from builder.core.reference import Reference
from builder.docker.endpoint import Endpoint
from builder.docker.greeting import greet
from builder.docker.sdk import Explain, translated, unreachable
from builder.docker.streams import Watch, break_off

if TYPE_CHECKING:
    from docker import APIClient

# Docker 18.09, the first engine with BuildKit.
OLDEST_API = (1, 39)
# As many connections as are kept; more are opened when they are needed.
_CONNECTIONS = 64
_CONNECT_SECONDS = 60
_BLOCK = 1 << 20


class Wire:
    """Talks to one engine by way of the docker SDK; errors come out as ours."""

    def __init__(self, endpoint: Endpoint, config_file: Path, headers: Mapping[str, str]) -> None:
        self.endpoint = endpoint
        self._config_file = config_file
        self._headers = headers
        self._opening = threading.Lock()
        self._api: APIClient | None = None

    @classmethod
    def open(
        cls, endpoint: Endpoint, *, config_file: Path, headers: Mapping[str, str] | None = None
    ) -> Wire:
        """Find an engine at the endpoint; ``config_file`` holds the logins for registries.

        Raises:
            EngineUnavailableError: with the remedy.

        """
        wire = cls(endpoint, config_file, headers or {})
        if endpoint.socket is None:
            wire._open()
        else:
            # That somebody is behind a socket is known without the SDK.
            _knock(endpoint.socket, endpoint)
        return wire

    def info(self) -> EngineInfo:
        """What the engine says of itself.

        Raises:
            EngineUnavailableError: with the remedy.

        """
        if self._api is not None or self.endpoint.socket is None:
            with self.errors("cannot ask the engine about itself", EngineUnavailableError):
                return EngineInfo.of(self.api.info(), self.api.api_version)
        try:
            greeting = greet(self.endpoint.socket, self._headers)
        except OSError as error:
            raise _unreachable(error, self.endpoint) from error
        _require_api(greeting.api_version)
        return EngineInfo.of(greeting.info, greeting.api_version)

    @property
    def api(self) -> APIClient:
        """The SDK's client; without a Unix socket the engine has been asked for its version.

        Raises:
            EngineUnavailableError: with the remedy.

        """
        return self._api or self._open()

    @property
    def used(self) -> bool:
        """Whether the engine was ever asked for more than what it is."""
        return self._api is not None

    def close(self) -> None:
        if self._api is not None:
            self._api.close()

    def _open(self) -> APIClient:
        with self._opening:
            if self._api is None:
                with translated(
                    "cannot use the Docker Engine",
                    raises=EngineUnavailableError,
                    endpoint=self.endpoint,
                ):
                    api = _client(self.endpoint)
                    if self._config_file.exists():
                        api.reload_config(str(self._config_file))
                _require_api(api.api_version)
                api.headers.update(self._headers)
                self._api = api
            return self._api

    @property
    def untyped(self) -> Any:
        """The client, for the methods that its type stubs leave out."""
        return cast("Any", self.api)

    @contextmanager
    def errors(
        self,
        doing: str,
        raises: type[OcbuildError] = BuildError,
        explain: Explain | None = None,
    ) -> Iterator[None]:
        """Errors of SDK calls inside come out as ours: see ``translated``."""
        with translated(doing, raises=raises, endpoint=self.endpoint, explain=explain):
            yield

    @contextmanager
    def post(
        self,
        doing: str,
        path: str,
        *,
        params: Mapping[str, Any],
        raises: type[OcbuildError],
        explain: Explain | None = None,
        headers: Mapping[str, str | bytes] | None = None,
        body: IO[bytes] | None = None,
        cancel: threading.Event | None = None,
        timeout: float | None = None,
        silence: float | None = None,
    ) -> Iterator[Iterator[dict[str, Any]]]:
        """POST something and give the messages of the answer; ``silence`` is the longest pause.

        Raises:
            InterruptedRunError: once ``cancel`` is set.
            TimeoutError: after ``timeout`` seconds.

        """
        cancel = cancel or threading.Event()
        with self.errors(doing, raises, explain):
            response = self.api.post(
                f"{self.api.base_url}/v{self.api.api_version}{path}",
                params=params,
                headers={"Content-Type": "application/x-tar", **(headers or {})},
                data=_blocks(body, cancel) if body is not None else b"",
                stream=True,
                timeout=(_CONNECT_SECONDS, silence),
            )
        with response:
            with self.errors(doing, raises, explain):
                _raise_for_status(response)
            with Watch(lambda: break_off(response), cancel=cancel, timeout=timeout) as watch:
                yield self._watched(
                    doing, raises, messages(response.iter_content(chunk_size=None)), watch
                )
            watch.check(doing)

    def login(self, name: Reference) -> bytes:
        """The login for the registry of a reference, as the engine wants it in a header."""
        from docker import auth  # noqa: PLC0415

        with self.errors(f"cannot get the login for {name.repository}", PublishError):
            host, _ = auth.resolve_repository_name(name.repository)
            found = auth.get_config_header(self.api, host)
        # Older engines insist on the header even where there is no login.
        return found or base64.urlsafe_b64encode(b"{}")

    def logins(self) -> bytes:
        """All logins, as POST /build wants them; none where a helper fails, as the CLI does it."""
        from docker import auth  # noqa: PLC0415
        from docker.errors import DockerException  # noqa: PLC0415

        found: dict[str, Any] = {}
        with suppress(DockerException):
            known: Any = auth.load_config(str(self._config_file))
            found = known.get_all_credentials()
        return base64.urlsafe_b64encode(json.dumps(found).encode())

    def _watched(
        self,
        doing: str,
        raises: type[OcbuildError],
        received: Iterator[dict[str, Any]],
        watch: Watch,
    ) -> Iterator[dict[str, Any]]:
        while True:
            try:
                with self.errors(doing, raises):
                    message = next(received, None)
            except OcbuildError:
                watch.check(doing, failed=True)
                raise
            if message is None:
                return
            yield message


def _knock(path: Path, endpoint: Endpoint) -> None:
    """Fail at once where nobody is behind a Unix socket."""
    with socket.socket(socket.AF_UNIX) as knocking:
        try:
            knocking.connect(str(path))
        except OSError as error:
            raise _unreachable(error, endpoint) from error


def _unreachable(error: OSError, endpoint: Endpoint) -> EngineUnavailableError:
    found = unreachable(error, endpoint)
    return found or EngineUnavailableError(f"cannot open {endpoint.url}: {error}")


def _client(endpoint: Endpoint) -> APIClient:
    from docker import APIClient  # noqa: PLC0415 - 170 ms
    from docker.tls import TLSConfig  # noqa: PLC0415
    from requests.adapters import HTTPAdapter  # noqa: PLC0415

    tls: bool | TLSConfig = False
    if endpoint.certificates is not None:
        parts = {name: endpoint.certificates / f"{name}.pem" for name in ("cert", "key", "ca")}
        pair = (str(parts["cert"]), str(parts["key"])) if parts["cert"].exists() else None
        authority = str(parts["ca"]) if parts["ca"].exists() else None
        tls = TLSConfig(client_cert=pair, ca_cert=authority, verify=endpoint.verify)
    api = APIClient(endpoint.url, version="auto", tls=tls, max_pool_size=_CONNECTIONS)
    if endpoint.url.startswith(("tcp:", "http:", "https:")):
        for scheme in ("http://", "https://"):
            api.mount(scheme, HTTPAdapter(pool_maxsize=_CONNECTIONS))
    return api


def _require_api(version: str) -> None:
    numbers = tuple(int(part) for part in version.split(".") if part.isdigit())
    if numbers < OLDEST_API:
        oldest = ".".join(map(str, OLDEST_API))
        raise EngineUnavailableError(
            f"the Docker Engine speaks API {version}, ocbuild needs {oldest}",
            hint="upgrade the Docker Engine to 18.09 or later",
        )


def _raise_for_status(response: Any) -> None:
    from docker.errors import create_api_error_from_http_exception  # noqa: PLC0415
    from requests.exceptions import HTTPError  # noqa: PLC0415

    try:
        response.raise_for_status()
    except HTTPError as error:
        create_api_error_from_http_exception(error)


def _blocks(source: IO[bytes], cancel: threading.Event) -> Iterator[bytes]:
    """A file in blocks; it ends early once ``cancel`` is set."""
    while not cancel.is_set() and (block := source.read(_BLOCK)):
        yield block
