"""Asks an engine behind a Unix socket about itself, without the SDK that takes long to import.

Many runs want nothing of an engine but to know what it builds for: all that they need is published,
or is made without one.
"""

from __future__ import annotations

import http.client
import json
import socket
from collections.abc import Mapping
from http import HTTPStatus
from pathlib import Path
from typing import Any

from builder.errors import EngineUnavailableError
from builder.values import dataclass

_SECONDS = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class Greeting:
    """The answer to ``GET /info``, and the version of the API that the engine speaks."""

    info: Mapping[str, Any]
    api_version: str


def greet(path: Path, headers: Mapping[str, str]) -> Greeting:
    """Ask the engine whose socket this is.

    Raises:
        OSError: nobody answers.
        EngineUnavailableError: what answers is no Docker Engine, or one that cannot say.

    """
    connection = _Connection(path)
    try:
        connection.request("GET", "/info", headers=dict(headers))
        answer = connection.getresponse()
        body = answer.read()
    except http.client.HTTPException as error:
        raise _odd(path, type(error).__name__) from error
    finally:
        connection.close()
    version = answer.getheader("Api-Version")
    try:
        content = json.loads(body)
    except ValueError:
        content = None
    if answer.status != HTTPStatus.OK and isinstance(content, dict) and content.get("message"):
        raise EngineUnavailableError(
            f"cannot ask the engine about itself: {str(content['message']).strip()}"
        )
    if answer.status != HTTPStatus.OK or not isinstance(content, dict) or version is None:
        raise _odd(path, f"status {answer.status}")
    return Greeting(info=content, api_version=version)


def _odd(path: Path, what: str) -> EngineUnavailableError:
    return EngineUnavailableError(
        f"what answers at unix://{path} is no Docker Engine: {what}",
        hint="point DOCKER_HOST or a docker context at one",
    )


class _Connection(http.client.HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=_SECONDS)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        try:
            self.sock.settimeout(_SECONDS)
            self.sock.connect(str(self._path))
        except OSError:
            self.sock.close()
            raise
