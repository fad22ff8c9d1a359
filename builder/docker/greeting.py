"""Asks an engine behind a Unix socket about itself, without the SDK that takes long to import.

Many runs want nothing of an engine but to know what it builds for: all that they need is published,
or is made without one.
"""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from pathlib import Path
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from builder.core.codec import MalformedError, decode
from builder.core.errors import EngineUnavailableError
from builder.core.registry_faults import TIMED_OUT, BrokenTransferError, RegistryError
from builder.http.client import DOCUMENT, HttpClient, Request, Response
from builder.http.trust import Trust

_LIMITS = replace(DOCUMENT, total_seconds=60.0)


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
    response = _ask(path, headers)
    version = response.header("Api-Version")
    try:
        content = decode(response.body, dict[str, Any], what="the answer")
    except MalformedError:
        content = {}
    if response.status != HTTPStatus.OK and content.get("message"):
        raise EngineUnavailableError(
            f"cannot ask the engine about itself: {str(content['message']).strip()}"
        )
    if response.status != HTTPStatus.OK or not content or version is None:
        raise _odd(path, f"status {response.status}")
    return Greeting(info=content, api_version=version)


def _ask(path: Path, headers: Mapping[str, str]) -> Response:
    request = Request(
        method="GET",
        url="http://localhost/info",
        what="ask the engine about itself",
        headers=headers,
        limits=_LIMITS,
        unix_socket=str(path),
    )
    client = HttpClient(Trust(), {})
    try:
        return client.read(request)
    except RegistryError as error:
        cause = error.__cause__
        if isinstance(cause, BrokenTransferError) and cause.number:
            raise OSError(cause.number, cause.text) from error
        if isinstance(cause, BrokenTransferError) and cause.code == TIMED_OUT:
            raise TimeoutError("timed out") from error
        raise _odd(path, str(cause or error)) from error
    finally:
        client.close()


def _odd(path: Path, what: str) -> EngineUnavailableError:
    return EngineUnavailableError(
        f"what answers at unix://{path} is no Docker Engine: {what}",
        hint="point DOCKER_HOST or a docker context at one",
    )
