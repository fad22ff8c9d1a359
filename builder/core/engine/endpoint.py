"""Which Docker Engine the docker command would talk to, from what its files and variables say."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

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


class DockerEndpoint(Struct, frozen=True, rename={"host": "Host", "skip_verify": "SkipTLSVerify"}):
    """The entry ``docker`` among the endpoints of a docker context."""

    host: str | None = None
    skip_verify: bool | None = None


class ContextMeta(Struct, frozen=True, rename={"endpoints": "Endpoints"}):
    """The file meta.json of a docker context."""

    endpoints: dict[str, DockerEndpoint | None] | None = None


def chosen_context(environ: Mapping[str, str], current: str | None) -> str | None:
    """The docker context that is used where DOCKER_HOST is not set; None for the default one."""
    name = environ.get("DOCKER_CONTEXT") or current
    return None if not name or name == DEFAULT_CONTEXT else name


def of_place(place: str, environ: Mapping[str, str]) -> dict[str, str]:
    """The environment for a host of build.toml: "local", an address, or a docker context.

    As with ``docker --host`` and ``docker --context``, what is named goes before what is set.
    """
    if place == "local":
        return dict(environ)
    if "://" in place:
        return {**environ, "DOCKER_HOST": place}
    others = {name: value for name, value in environ.items() if name != "DOCKER_HOST"}
    return {**others, "DOCKER_CONTEXT": place}


def of_host(url: str, environ: Mapping[str, str], config_dir: Path) -> Endpoint:
    """The engine that DOCKER_HOST names."""
    verify = bool(environ.get("DOCKER_TLS_VERIFY"))
    folder = environ.get("DOCKER_CERT_PATH")
    env = {"DOCKER_HOST": url}
    for name in ("DOCKER_TLS_VERIFY", "DOCKER_CERT_PATH"):
        if environ.get(name):
            env[name] = environ[name]
    return Endpoint(
        url=url,
        certificates=Path(folder) if folder else config_dir if verify else None,
        verify=verify,
        env=env,
    )


def of_context(name: str, meta: ContextMeta, certificates: Path | None) -> Endpoint:
    """The engine of a docker context."""
    docker = (meta.endpoints or {}).get("docker") or DockerEndpoint()
    return Endpoint(
        url=docker.host or DEFAULT_URL,
        context=name,
        certificates=certificates,
        verify=not docker.skip_verify,
        env={"DOCKER_CONTEXT": name},
    )


def context_folder(name: str) -> str:
    """The name of the folders that the docker command keeps for a context."""
    return hashlib.sha256(name.encode()).hexdigest()


def dial_words(url: str) -> list[str]:
    """The command that connects its streams with the engine at an ssh address.

    The words are those of the docker command: docker/cli, cli/connhelper.

    Raises:
        EngineUnavailableError: the address is no ssh://[user@]host[:port][/socket].

    """
    parts = urlsplit(url)
    try:
        host, user, port = parts.hostname, parts.username, parts.port
    except ValueError:
        host = user = port = None
    if not host or parts.password or parts.query or parts.fragment:
        raise EngineUnavailableError(
            f"{url} is no address of a Docker Engine",
            hint="write ssh://user@host:port; keys and more are told in ~/.ssh/config",
        )
    words = ["ssh", "-o", "ConnectTimeout=30", "-T"]
    words += ["-l", user] if user else []
    words += ["-p", str(port)] if port else []
    at = ["--host", f"unix://{parts.path}"] if parts.path.strip("/") else []
    return [*words, "--", host, "docker", *at, "system", "dial-stdio"]
