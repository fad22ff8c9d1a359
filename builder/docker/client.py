"""The docker SDK on any connection to an engine: opened when it is used, shared by all threads.

The API: https://docs.docker.com/reference/api/engine/.
"""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from types import TracebackType
from typing import IO, TYPE_CHECKING, Any, cast

from builder.core.engine.answers import Endpoint, EngineInfo, messages
from builder.core.engine.failure import translate, unreachable
from builder.core.errors import (
    Bug,
    BuildError,
    EngineUnavailableError,
    InterruptedRunError,
    OcbuildError,
)
from builder.docker.greeting import greet

if TYPE_CHECKING:
    from requests import Response
    from typing_extensions import Self

    from builder.docker.sdk import SdkClient

Explain = Callable[[str], OcbuildError]

# Docker 18.09, the first engine with BuildKit.
OLDEST_API = (1, 39)
_CONNECT_SECONDS = 60
_BLOCK = 1 << 20
# A threading.Event cannot be waited for together with a socket, so it is looked at this often.
TICK_SECONDS = 0.1


class Client:
    """Talks to one engine by way of the docker SDK; errors come out as ours.

    ``raises`` is what they are where a call does not say another class; ``silence`` are the seconds
    that an answer may take.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        environ: Mapping[str, str],
        *,
        headers: Mapping[str, str] | None = None,
        raises: type[OcbuildError] = BuildError,
        silence: int = 60,
    ) -> None:
        self.endpoint = endpoint
        self._environ = environ
        self._headers = headers or {}
        self._raises = raises
        self._silence = silence
        self._opening = threading.Lock()
        self._sdk: SdkClient | None = None

    def knock(self) -> None:
        """Make sure that there is an engine; of one behind a Unix socket the SDK is not needed.

        Raises:
            EngineUnavailableError: with the remedy.

        """
        if self.endpoint.socket is None:
            self._open()
            return
        with socket.socket(socket.AF_UNIX) as knocking:
            try:
                knocking.connect(str(self.endpoint.socket))
            except OSError as error:
                raise self._unreachable(error) from error

    def info(self) -> EngineInfo:
        """What the engine says of itself.

        Raises:
            EngineUnavailableError: with the remedy.

        """
        if self._sdk is not None or self.endpoint.socket is None:
            with self.errors("cannot ask the engine about itself", EngineUnavailableError):
                return EngineInfo.of(self.api.info(), self.api.api_version)
        try:
            greeting = greet(self.endpoint.socket, self._headers)
        except OSError as error:
            raise self._unreachable(error) from error
        _require_api(greeting.api_version)
        return EngineInfo.of(greeting.info, greeting.api_version)

    @property
    def api(self) -> Any:
        """The SDK's client, whose stubs leave out much of it.

        Raises:
            EngineUnavailableError: with the remedy.

        """
        return self._sdk or self._open()

    @property
    def is_open(self) -> bool:
        """Whether the engine was ever asked for more than what it is."""
        return self._sdk is not None

    @property
    def refused(self) -> type[Any]:
        """What the SDK raises where the engine says no."""
        from builder.docker import sdk  # noqa: PLC0415 - 85 ms

        return sdk.REFUSED

    @property
    def not_found(self) -> type[Exception]:
        """What the SDK raises where the engine has no such thing."""
        from builder.docker import sdk  # noqa: PLC0415 - 85 ms

        return sdk.NOT_FOUND

    def close(self) -> None:
        if self._sdk is not None:
            self._sdk.close()

    @contextmanager
    def errors(
        self,
        doing: str,
        raises: type[OcbuildError] | None = None,
        explain: Explain | None = None,
    ) -> Iterator[None]:
        """SDK calls inside; what they raise comes out as ours, beginning with ``doing``.

        ``explain`` makes the error instead where the engine itself says what is wrong.
        """
        from builder.docker import sdk  # noqa: PLC0415 - 85 ms

        try:
            yield
        except sdk.FAILURES as error:
            explanation = getattr(error, "explanation", None)
            if explanation and explain is not None:
                raise explain(str(explanation)) from error
            kind = raises or self._raises
            raise translate(error, doing, raises=kind, url=self.endpoint.url) from error

    def get(
        self, path: str, params: Mapping[str, Any], headers: Mapping[str, str] | None = None
    ) -> Any:
        """The JSON at a path, for what the SDK cannot ask; to be called inside ``errors``."""
        with self._request("GET", path, params=params, headers=headers) as response:
            return response.json()

    def send(self, path: str, body: Mapping[str, Any]) -> Any:
        """POST JSON; the JSON of the answer, if any; to be called inside ``errors``."""
        with self._request("POST", path, json=body) as response:
            return response.json() if response.content.strip() else None

    @contextmanager
    def stream(self, path: str, params: Mapping[str, Any]) -> Iterator[Iterator[bytes]]:
        """GET, and the answer in pieces as they come; to be called inside ``errors``."""
        timeout = (_CONNECT_SECONDS, None)
        with self._request("GET", path, params=params, stream=True, timeout=timeout) as response:
            yield response.iter_content(chunk_size=None)

    @contextmanager
    def post(
        self,
        doing: str,
        path: str,
        *,
        params: Mapping[str, Any],
        raises: type[OcbuildError] | None = None,
        explain: Explain | None = None,
        headers: Mapping[str, str] | None = None,
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
        ask = partial(
            self._request,
            "POST",
            path,
            params=params,
            headers={"Content-Type": "application/x-tar", **(headers or {})},
            data=_blocks(body, cancel) if body is not None else b"",
            stream=True,
            timeout=(_CONNECT_SECONDS, silence),
        )
        with self.errors(doing, raises, explain):
            response = _Request(ask).response(doing, cancel)
        with response:
            with Watch(lambda: _break_off(response), cancel=cancel, timeout=timeout) as watch:
                yield self._watched(doing, raises, response, watch)
            watch.check(doing)

    def _request(self, method: str, path: str, **more: Any) -> Response:
        from builder.docker import sdk  # noqa: PLC0415 - 85 ms

        url = f"{self.api.base_url}/v{self.api.api_version}{path}"
        response = self.api.request(method, url, **{"timeout": self._silence, **more})
        sdk.raise_for_status(response)
        return cast("Response", response)

    def _watched(
        self, doing: str, raises: type[OcbuildError] | None, response: Response, watch: Watch
    ) -> Iterator[dict[str, Any]]:
        received = messages(response.iter_content(chunk_size=None))
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

    def _unreachable(self, error: OSError) -> EngineUnavailableError:
        url = self.endpoint.url
        known = unreachable(error, url)
        return known or EngineUnavailableError(f"cannot open {url}: {error}")

    def _open(self) -> SdkClient:
        with self._opening:
            if self._sdk is None:
                from builder.docker import sdk  # noqa: PLC0415 - 85 ms

                oldest = ".".join(map(str, OLDEST_API))
                with self.errors("cannot use the Docker Engine", EngineUnavailableError):
                    api = sdk.connect(
                        self.endpoint, self._environ, oldest=oldest, seconds=_CONNECT_SECONDS
                    )
                api.timeout = self._silence
                _require_api(api.api_version)
                api.headers.update(self._headers)
                self._sdk = api
            return self._sdk


def _require_api(version: str) -> None:
    numbers = tuple(int(part) for part in version.split(".") if part.isdigit())
    if numbers < OLDEST_API:
        oldest = ".".join(map(str, OLDEST_API))
        raise EngineUnavailableError(
            f"the Docker Engine speaks API {version}, ocbuild needs {oldest}",
            hint="upgrade the Docker Engine to 18.09 or later",
        )


class Watch:
    """Calls ``stop`` once when ``cancel`` is set or ``timeout`` seconds have gone by.

    To be used as a context manager around what may have to be stopped; ``check`` afterwards says
    whether it was.
    """

    def __init__(
        self, stop: Callable[[], None], *, cancel: threading.Event, timeout: float | None
    ) -> None:
        self._stop = stop
        self._cancel = cancel
        self._deadline = None if timeout is None else time.monotonic() + timeout
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._run, name="watch", daemon=True)
        self._cancelled = False
        self._timed_out = False

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._done.set()
        self._thread.join()

    @property
    def stopped(self) -> bool:
        return self._cancelled or self._timed_out

    def check(self, doing: str, *, failed: bool = False) -> None:
        """Raise what the stop means.

        ``failed``: something went wrong, so that a cancel is taken for the cause even if it was not
        acted upon yet.

        Raises:
            InterruptedRunError: if it was cancelled.
            TimeoutError: if the time was up.

        """
        if self._cancelled or (failed and self._cancel.is_set()):
            raise InterruptedRunError(f"{doing}: interrupted")
        if self._timed_out:
            raise TimeoutError(doing)

    def _run(self) -> None:
        while not self._done.wait(TICK_SECONDS):
            self._cancelled = self._cancel.is_set()
            late = self._deadline is not None and time.monotonic() >= self._deadline
            self._timed_out = late and not self._cancelled
            if self.stopped:
                self._stop()
                return


class _Request(threading.Thread):
    """Waits for the head of a response, so that nobody else has to once that is given up."""

    def __init__(self, ask: Callable[[], Response]) -> None:
        super().__init__(name="request", daemon=True)
        self._ask = ask
        self._guard = threading.Lock()
        self._given_up = False
        self._response: Response | None = None
        self._error: BaseException | None = None

    def run(self) -> None:
        try:
            response = self._ask()
        except BaseException as error:  # noqa: BLE001 - it is raised where it is waited for
            self._error = error
            return
        with self._guard:
            self._response = response
            given_up = self._given_up
        if given_up:
            response.close()

    def response(self, doing: str, cancel: threading.Event) -> Response:
        """Start, and wait for the response.

        Raises:
            InterruptedRunError: once ``cancel`` is set.

        """
        self.start()
        while self.is_alive():
            self.join(TICK_SECONDS)
            with self._guard:
                self._given_up = self._response is None and self._error is None and cancel.is_set()
            if self._given_up:
                raise InterruptedRunError(f"{doing}: interrupted")
        if self._response is None:
            raise self._error or Bug(f"{doing}: neither an answer nor an error")
        return self._response


def _break_off(response: Response) -> None:
    """End a response that another thread reads from; the engine then stops what it was doing."""
    connection = getattr(response.raw, "connection", None)
    connected = getattr(connection, "sock", None)
    if connected is not None:
        with contextlib.suppress(OSError):
            connected.shutdown(socket.SHUT_RDWR)


def _blocks(source: IO[bytes], cancel: threading.Event) -> Iterator[bytes]:
    """A file in blocks; it ends early once ``cancel`` is set."""
    while not cancel.is_set() and (block := source.read(_BLOCK)):
        yield block
