"""What a Docker Engine answers, as values, and where it is: sockets, addresses, contexts."""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from msgspec import Struct, field

from builder.core.dockerfile.stages import engine_platform
from builder.core.errors import EngineUnavailableError

# How the engine says that containerd keeps its images.
_CONTAINERD = ["driver-type", "io.containerd.snapshotter.v1"]
_FRAME = struct.Struct(">BxxxL")


class EngineInfo(Struct, frozen=True, kw_only=True):
    """What the engine says of itself."""

    version: str
    api_version: str
    os: str
    architecture: str
    storage_driver: str
    containerd_store: bool
    root: str
    cpus: int
    memory: int
    insecure_registries: tuple[str, ...]

    @property
    def platform(self) -> str:
        """What it builds for by default, as OCI names it, e.g. linux/amd64."""
        return engine_platform(self.os, self.architecture)

    @classmethod
    def of(cls, info: Mapping[str, Any], api_version: str) -> EngineInfo:
        """Read the answer to ``GET /info``."""
        registries = (info.get("RegistryConfig") or {}).get("InsecureRegistryCIDRs") or ()
        return cls(
            version=info.get("ServerVersion", ""),
            api_version=api_version,
            os=info.get("OSType", ""),
            architecture=info.get("Architecture", ""),
            storage_driver=info.get("Driver", ""),
            containerd_store=_CONTAINERD in (info.get("DriverStatus") or ()),
            root=info.get("DockerRootDir", ""),
            cpus=info.get("NCPU", 0),
            memory=info.get("MemTotal", 0),
            insecure_registries=tuple(registries),
        )


class LocalImage(Struct, frozen=True, kw_only=True):
    """An image in the engine. ``onbuild`` are its triggers, ``created`` is RFC 3339 text."""

    id: str
    tags: tuple[str, ...] = ()
    repo_digests: tuple[str, ...] = ()
    size: int = 0
    labels: Mapping[str, str] = field(default_factory=dict)
    env: tuple[str, ...] = ()
    onbuild: tuple[str, ...] = ()
    created: str = ""
    architecture: str = ""

    @classmethod
    def of(cls, image: Mapping[str, Any]) -> LocalImage:
        """Read the answer to ``GET /images/{name}/json``."""
        config = image.get("Config") or {}
        return cls(
            id=image["Id"],
            tags=tuple(image.get("RepoTags") or ()),
            repo_digests=tuple(image.get("RepoDigests") or ()),
            size=image.get("Size") or 0,
            labels=dict(config.get("Labels") or {}),
            env=tuple(config.get("Env") or ()),
            onbuild=tuple(config.get("OnBuild") or ()),
            created=image.get("Created") or "",
            architecture=image.get("Architecture") or "",
        )


class Pushed(Struct, frozen=True, kw_only=True):
    """``uploaded`` counts the bytes of layers that went to the registry, before compression."""

    digest: str
    uploaded: int


def messages(chunks: Iterable[bytes]) -> Iterator[dict[str, Any]]:
    """The JSON objects of an answer, one a line, as they come.

    Raises:
        ConnectionError: what comes is no JSON object.

    """
    rest = b""
    for chunk in chunks:
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            if line.strip():
                yield _object(line)
    if rest.strip():
        yield _object(rest)


def _object(line: bytes) -> dict[str, Any]:
    try:
        decoded = json.loads(line)
    except ValueError as error:
        raise ConnectionError(f"unreadable answer {line[:80]!r}") from error
    if not isinstance(decoded, dict):
        raise ConnectionError(f"unreadable answer {line[:80]!r}")
    return decoded


def frames(chunks: Iterable[bytes]) -> Iterator[tuple[int, bytes]]:
    """Standard output (1) and error (2), which the engine sends in one stream of framed pieces."""
    rest = b""
    for chunk in chunks:
        rest += chunk
        while len(rest) >= _FRAME.size:
            stream, size = _FRAME.unpack_from(rest)
            if len(rest) < _FRAME.size + size:
                break
            yield stream, rest[_FRAME.size : _FRAME.size + size]
            rest = rest[_FRAME.size + size :]


DEFAULT_CONTEXT = "default"
DEFAULT_URL = "unix:///var/run/docker.sock"
# What a docker command may see of the environment: who runs it and where its files are, how ssh,
# TLS and proxies are spoken, and what the programs that keep logins ask for. All else (platforms,
# dates, builders, experiments) would change images behind the back of their keys.
_PASSED_ON = frozenset(
    {
        *("PATH", "HOME", "USER", "LOGNAME", "SHELL", "TZ", "TMPDIR", "LANG", "LANGUAGE", "TERM"),
        *("DOCKER_CONFIG", "DOCKER_AUTH_CONFIG", "DOCKER_CUSTOM_HEADERS", "BUILDX_CONFIG"),
        *("SSL_CERT_FILE", "SSL_CERT_DIR", "DISPLAY", "WAYLAND_DISPLAY", "GNUPGHOME", "GPG_TTY"),
        *("GH_TOKEN", "GITHUB_TOKEN", "CI_JOB_TOKEN"),
    }
)
_FAMILIES = (
    *("LC_", "XDG_", "SSH_", "DBUS_", "KRB5"),
    *("AWS_", "AZURE_", "GOOGLE_", "CLOUDSDK_", "PASSWORD_STORE_", "VAULT_", "OP_"),
)
# Docker defines these build args by itself: they need no ARG and leave no trace in the history.
_WORDS = ("http_proxy", "https_proxy", "ftp_proxy", "no_proxy", "all_proxy")
PROXY_NAMES = frozenset(name for word in _WORDS for name in (word, word.upper()))


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
        """The environment for a docker command that makes images: this engine's, and what of
        ``environ`` changes nothing in an image.
        """
        passed = _PASSED_ON | PROXY_NAMES
        kept = {n: v for n, v in environ.items() if n in passed or n.startswith(_FAMILIES)}
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
