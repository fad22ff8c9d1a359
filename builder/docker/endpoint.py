"""Finds the Docker Engine that the docker command would talk to, without asking anybody.

The docker SDK reads contexts too, but takes 85 ms to import and forgets DOCKER_CONTEXT.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from builder.core.codec import MalformedError, convert
from builder.core.engine.endpoint import (
    DEFAULT_CONTEXT,
    DEFAULT_URL,
    ContextMeta,
    Endpoint,
    chosen_context,
    context_folder,
    of_context,
    of_host,
)
from builder.core.errors import EngineUnavailableError


def find_endpoint(environ: Mapping[str, str]) -> Endpoint:
    """DOCKER_HOST, else DOCKER_CONTEXT, else the current context, else the default socket.

    Raises:
        EngineUnavailableError: if the context is not there or cannot be read.

    """
    if url := environ.get("DOCKER_HOST", "").strip():
        return of_host(url, environ, config_dir(environ))
    current = None if environ.get("DOCKER_CONTEXT") else docker_config(environ)
    name = chosen_context(environ, str((current or {}).get("currentContext") or ""))
    if name is None:
        return Endpoint(url=DEFAULT_URL, env={"DOCKER_CONTEXT": DEFAULT_CONTEXT})
    folder = config_dir(environ) / "contexts"
    file = folder / "meta" / context_folder(name) / "meta.json"
    meta = _read_json(file)
    if meta is None:
        raise EngineUnavailableError(
            f'there is no docker context "{name}"',
            hint="`docker context ls` shows those that exist; "
            "DOCKER_CONTEXT or `docker context use` chooses one",
        )
    certificates = folder / "tls" / context_folder(name) / "docker"
    try:
        shaped = convert(meta, ContextMeta, what=str(file))
    except MalformedError as error:
        raise EngineUnavailableError(str(error)) from error
    return of_context(name, shaped, certificates if certificates.is_dir() else None)


def config_dir(environ: Mapping[str, str]) -> Path:
    """Where the docker command keeps config.json and its contexts."""
    if chosen := environ.get("DOCKER_CONFIG"):
        return Path(chosen)
    return Path(environ.get("HOME") or Path.home()) / ".docker"


def docker_config(environ: Mapping[str, str]) -> Mapping[str, Any]:
    """The content of the docker command's config.json; empty where there is none.

    Raises:
        EngineUnavailableError: if it cannot be read.

    """
    return _read_json(config_dir(environ) / "config.json") or {}


def _read_json(path: Path) -> dict[str, Any] | None:
    try:
        content = json.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    except OSError as error:
        raise EngineUnavailableError(f"cannot read {path}: {error.strerror}") from error
    except ValueError as error:
        raise EngineUnavailableError(
            f"{path} is no JSON: {error}", hint="mend or remove it; the docker command reads it too"
        ) from error
    if not isinstance(content, dict):
        raise EngineUnavailableError(f"{path} holds no JSON object")
    return content
