"""Asks an engine behind a Unix socket about itself, without the SDK that takes long to import.

Many runs want nothing of an engine but to know what it builds for: all that they need is published,
or is made without one.
"""

from __future__ import annotations

import json
import socket
from collections.abc import Mapping
from http import HTTPStatus
from pathlib import Path
from typing import Any

from msgspec import Struct

from builder.core.errors import EngineUnavailableError
from builder.http.connection import Connection, HttpError

_SECONDS = 60


class Greeting(Struct, frozen=True, kw_only=True):
    """The answer to ``GET /info``, and the version of the API that the engine speaks."""

    info: Mapping[str, Any]
    api_version: str


def greet(path: Path, headers: Mapping[str, str]) -> Greeting:
    """Ask the engine whose socket this is.

    Raises:
        OSError: nobody answers.
        EngineUnavailableError: what answers is no Docker Engine, or one that cannot say.

    """
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(_SECONDS)
        sock.connect(str(path))
        try:
            reply = Connection(sock, "localhost").send(
                "GET", "/info", headers=headers, read_seconds=_SECONDS
            )
            body = reply.read_all()
        except HttpError as error:
            raise _odd(path, str(error)) from error
    version = reply.header("Api-Version")
    try:
        content = json.loads(body)
    except ValueError:
        content = None
    if reply.status != HTTPStatus.OK and isinstance(content, dict) and content.get("message"):
        raise EngineUnavailableError(
            f"cannot ask the engine about itself: {str(content['message']).strip()}"
        )
    if reply.status != HTTPStatus.OK or not isinstance(content, dict) or version is None:
        raise _odd(path, f"status {reply.status}")
    return Greeting(info=content, api_version=version)


def _odd(path: Path, what: str) -> EngineUnavailableError:
    return EngineUnavailableError(
        f"what answers at unix://{path} is no Docker Engine: {what}",
        hint="point DOCKER_HOST or a docker context at one",
    )
