"""Finds the Docker Engine that the docker command would talk to, without asking anybody."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from msgspec import Struct, field

from builder.core.errors import EngineUnavailableError

DEFAULT_CONTEXT = "default"
DEFAULT_URL = "unix:///var/run/docker.sock"
_DECIDES = ("DOCKER_HOST", "DOCKER_CONTEXT", "DOCKER_TLS_VERIFY", "DOCKER_CERT_PATH", "DOCKER_TLS")


class Endpoint(Struct, frozen=True, kw_only=True):
    """An engine's address.

    ``context`` is the docker context that the docker command is in there; buildx has a builder of
    that name. ``certificates`` is a folder with ca.pem, cert.pem and key.pem. ``env`` makes the
    docker command talk to the same engine.
    """

    url: str
    context: str = DEFAULT_CONTEXT
    certificates: Path | None = None
    verify: bool = True
    env: Mapping[str, str] = field(default_factory=dict)

    @property
    def socket(self) -> Path | None:
        """The path of a Unix socket; None for an engine that is reached in another way."""
        scheme, _, path = self.url.partition("://")
        return Path(path) if scheme == "unix" else None

    def child_environ(self, environ: Mapping[str, str]) -> dict[str, str]:
        """The environment for a docker command: ``environ``, but with this engine."""
        kept = {name: value for name, value in environ.items() if name not in _DECIDES}
        return {**kept, **self.env}


def find_endpoint(environ: Mapping[str, str]) -> Endpoint:
    """DOCKER_HOST, else DOCKER_CONTEXT, else the current context, else the default socket.

    Raises:
        EngineUnavailableError: if the context is not there or cannot be read.

    """
    if url := environ.get("DOCKER_HOST", "").strip():
        return _from_host(url, environ)
    name = environ.get("DOCKER_CONTEXT") or docker_config(environ).get("currentContext")
    if not name or name == DEFAULT_CONTEXT:
        return Endpoint(url=DEFAULT_URL, env={"DOCKER_CONTEXT": DEFAULT_CONTEXT})
    return _from_context(str(name), environ)


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


def _from_host(url: str, environ: Mapping[str, str]) -> Endpoint:
    verify = bool(environ.get("DOCKER_TLS_VERIFY"))
    folder = environ.get("DOCKER_CERT_PATH")
    certificates = Path(folder) if folder else config_dir(environ) if verify else None
    env = {"DOCKER_HOST": url}
    for name in ("DOCKER_TLS_VERIFY", "DOCKER_CERT_PATH"):
        if environ.get(name):
            env[name] = environ[name]
    return Endpoint(url=url, certificates=certificates, verify=verify, env=env)


def _from_context(name: str, environ: Mapping[str, str]) -> Endpoint:
    folder = config_dir(environ) / "contexts"
    identity = hashlib.sha256(name.encode()).hexdigest()
    meta = _read_json(folder / "meta" / identity / "meta.json")
    if meta is None:
        raise EngineUnavailableError(
            f'there is no docker context "{name}"',
            hint="`docker context ls` shows those that exist; "
            "DOCKER_CONTEXT or `docker context use` chooses one",
        )
    docker = (meta.get("Endpoints") or {}).get("docker") or {}
    certificates = folder / "tls" / identity / "docker"
    return Endpoint(
        url=docker.get("Host") or DEFAULT_URL,
        context=name,
        certificates=certificates if certificates.is_dir() else None,
        verify=not docker.get("SkipTLSVerify"),
        env={"DOCKER_CONTEXT": name},
    )


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
