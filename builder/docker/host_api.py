"""The HTTP API of a host's Docker Engine, for what is not to be said in words.

The words of a command can be read by whoever may list processes, so no join token and no login may
be among them. The connection is the docker command's own, ``docker system dial-stdio``, so that it
reaches whatever that command reaches: contexts, TLS, ssh.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import threading
from collections.abc import Iterator, Mapping, Sequence
from http import HTTPStatus
from typing import Any
from urllib.parse import urlencode

from builder.core.errors import DeployError, OcbuildError
from builder.docker.streams import Watch
from builder.system.process import Dialled, dial

# How long the engine may be silent; in a pull, while it unpacks a large layer.
_SILENCE = 120.0
_LONG_SILENCE = 900.0


class RefusedError(DeployError):
    """The engine answered, and said no: in ``complaint``, and by the ``status`` of HTTP."""

    status = 0
    complaint = ""


class EngineApi:
    """Asks one engine, each time by a connection of its own; for many threads at once.

    ``docker`` are the words that begin a docker command for this host, ``where`` names it.
    """

    def __init__(self, docker: Sequence[str], environ: Mapping[str, str], where: str) -> None:
        self._docker = tuple(docker)
        self._environ = environ
        self._where = where
        self._version = ""

    def get(self, path: str, doing: str) -> Any:
        """The JSON at ``path``; ``doing`` follows "cannot" in messages.

        Raises:
            RefusedError: the engine says no.
            DeployError: it cannot be reached.

        """
        return self._ask("GET", path, doing, None)

    def post(self, path: str, doing: str, body: Mapping[str, Any]) -> Any:
        """Send JSON; what is answered. ``body`` is in no message.

        Raises:
            RefusedError: the engine says no.
            DeployError: it cannot be reached.

        """
        return self._ask("POST", path, doing, body)

    @contextlib.contextmanager
    def stream(
        self,
        path: str,
        doing: str,
        *,
        params: Mapping[str, str],
        headers: Mapping[str, str],
        cancel: threading.Event,
    ) -> Iterator[Iterator[dict[str, Any]]]:
        """POST, and the messages of the answer as they come.

        Raises:
            InterruptedRunError: once ``cancel`` is set.
            RefusedError: the engine says no.
            DeployError: it cannot be reached, or breaks off.

        """
        target = f"{path}?{urlencode(params)}"
        with self._connected(doing) as (connection, dialled):
            dialled.socket.settimeout(_LONG_SILENCE)
            watch = Watch(
                lambda: dialled.socket.shutdown(socket.SHUT_RDWR), cancel=cancel, timeout=None
            )
            with watch:
                try:
                    connection.request("POST", f"/v{self._version}{target}", headers=dict(headers))
                    yield _messages(self._answer(connection, doing))
                except (OSError, http.client.HTTPException, ValueError) as error:
                    watch.check(doing, failed=True)
                    raise self._broken(doing, dialled, error) from error
            watch.check(doing)

    def _ask(self, method: str, path: str, doing: str, body: Mapping[str, Any] | None) -> Any:
        with self._connected(doing) as (connection, dialled):
            try:
                sent = None if body is None else json.dumps(body).encode()
                headers = {} if body is None else {"Content-Type": "application/json"}
                connection.request(method, f"/v{self._version}{path}", sent, headers)
                answer = self._answer(connection, doing).read()
                return json.loads(answer) if answer.strip() else None
            except (OSError, http.client.HTTPException, ValueError) as error:
                raise self._broken(doing, dialled, error) from error

    @contextlib.contextmanager
    def _connected(self, doing: str) -> Iterator[tuple[http.client.HTTPConnection, Dialled]]:
        with dial([*self._docker, "system", "dial-stdio"], env=self._environ) as dialled:
            dialled.socket.settimeout(_SILENCE)
            connection = http.client.HTTPConnection("docker")
            connection.sock = dialled.socket
            if not self._version:
                try:
                    self._version = _version(connection)
                except (OSError, http.client.HTTPException) as error:
                    raise self._broken(doing, dialled, error) from error
            yield connection, dialled

    def _answer(
        self, connection: http.client.HTTPConnection, doing: str
    ) -> http.client.HTTPResponse:
        reply = connection.getresponse()
        if reply.status >= HTTPStatus.BAD_REQUEST:
            complaint = _complaint(reply.read())
            error = RefusedError(f"cannot {doing} {self._where}: {complaint}")
            error.status, error.complaint = reply.status, complaint
            raise error
        return reply

    def _broken(self, doing: str, dialled: Dialled, error: Exception) -> OcbuildError:
        said = dialled.complaint() or str(error) or type(error).__name__
        return DeployError(f"cannot {doing} {self._where}: {said}")


def _version(connection: http.client.HTTPConnection) -> str:
    """The newest version that the engine speaks, which every engine tells without one."""
    connection.request("GET", "/_ping")
    reply = connection.getresponse()
    reply.read()
    return reply.headers.get("Api-Version") or "1.39"


def _complaint(answer: bytes) -> str:
    try:
        return str(json.loads(answer)["message"]).strip()
    except (ValueError, KeyError, TypeError):
        return answer.decode("utf-8", "replace").strip() or "it does not say why"


def _messages(reply: http.client.HTTPResponse) -> Iterator[dict[str, Any]]:
    """The JSON objects of an answer, one a line."""
    for line in reply:
        if line.strip():
            yield json.loads(line)
