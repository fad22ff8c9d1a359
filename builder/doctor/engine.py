"""The Docker Engine and its two helpers, buildx and compose; and the bases that it will need."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path

from builder.core.engine.answers import EngineInfo
from builder.core.errors import BuildError, DeployError, EngineUnavailableError, OcbuildError
from builder.core.reference import Reference
from builder.core.settings.config import Config
from builder.docker.daemon import Daemon
from builder.doctor.finding import Finding, failure, of_error, ok, warning
from builder.doctor.machine import disk
from builder.engines.bases import look_up, wanted_reference
from builder.http.trust import is_loopback
from builder.registry.client import Registry
from builder.system.process import ProgramMissingError, ProgramTimeoutError, run

_PATIENCE = 30.0
# `pull --policy` came with it.
_COMPOSE = (2, 22)
_VERSION = re.compile(r"v?(\d+)\.(\d+)\S*")


def engine(environ: Mapping[str, str], *, deploys: bool, plain: str) -> Iterator[Finding]:
    """The engine that builds; ``plain`` is the registry, if it is spoken to without TLS."""
    try:
        with closing(Daemon.connect(environ)) as daemon:
            info = daemon.info()
            local = daemon.endpoint.socket is not None
            url = daemon.endpoint.url
    except OcbuildError as error:
        yield of_error("engine", error)
        return
    yield from of_info(info, url, plain=plain)
    yield from helpers(environ, deploys=deploys)
    if local:
        yield disk(Path(info.root), "the engine's images")


def of_info(info: EngineInfo, url: str, *, plain: str) -> Iterator[Finding]:
    store = "containerd's store" if info.containerd_store else "the engine's own store"
    yield ok(
        "engine",
        f"Docker Engine {info.version} at {url}, API {info.api_version}, "
        f"{info.os}/{info.architecture}, {info.storage_driver}, {store}",
    )
    if info.os != "linux":
        yield failure(
            "engine",
            f"the engine makes images for {info.os}",
            "an engine for linux",
            EngineUnavailableError,
        )
    if info.storage_driver == "vfs":
        yield warning(
            "engine",
            "the storage driver vfs copies every layer whole: slow, and large",
            'overlay2, as "storage-driver" in /etc/docker/daemon.json',
        )
    if plain and not is_loopback(plain) and plain not in info.insecure_registries:
        yield failure(
            "engine",
            f"the registry {plain} has no TLS, and the engine does not know that it may do without",
            f'"insecure-registries": ["{plain}"] in /etc/docker/daemon.json',
            EngineUnavailableError,
        )


def helpers(environ: Mapping[str, str], *, deploys: bool) -> Iterator[Finding]:
    text = _version(environ, "buildx")
    if text is None:
        yield warning(
            "engine",
            "docker buildx is missing: images are made by the Engine API's BuildKit instead",
            "install the package docker-buildx, or docker-buildx-plugin",
        )
    else:
        yield ok("engine", f"docker buildx {text}")
    if deploys:
        yield compose(_version(environ, "compose"))


def compose(text: str | None) -> Finding:
    least = ".".join(map(str, _COMPOSE))
    remedy = f"install docker-compose-plugin {least} or newer: stacks are brought up by it"
    if text is None:
        return failure("engine", "docker compose is missing", remedy, DeployError)
    match = _VERSION.search(text)
    if match and (int(match[1]), int(match[2])) < _COMPOSE:
        return failure("engine", f"docker compose {text} is too old", remedy, DeployError)
    return ok("engine", f"docker compose {text}")


def _version(environ: Mapping[str, str], plugin: str) -> str | None:
    try:
        done = run(["docker", plugin, "version"], env=environ, timeout=_PATIENCE)
    except (ProgramMissingError, ProgramTimeoutError):
        return None
    found = _VERSION.search(done.text)
    return None if done.returncode != 0 else found[0] if found else done.text.strip()


def bases(
    texts: tuple[str, ...], config: Config, environ: Mapping[str, str], registry: Registry
) -> Iterator[Finding]:
    """Whether each external base is there, or can be had."""
    try:
        daemon = Daemon.connect(environ)
    except OcbuildError:
        return  # of which the engine's own finding speaks
    with closing(daemon):
        for text, found in look_up(texts, config, daemon).items():
            if not isinstance(found, OcbuildError):
                yield ok("bases", f"{text} is in the engine")
                continue
            yield _elsewhere(text, config, environ, registry)


def _elsewhere(
    text: str, config: Config, environ: Mapping[str, str], registry: Registry
) -> Finding:
    reference = wanted_reference(text, config)
    why = ""
    try:
        if registry.head(Reference.parse(reference)) is not None:
            return ok("bases", f"{text} can be pulled from {reference}")
        why = f"{reference} does not exist"
    except OcbuildError as error:
        why = error.message
    settings = config.base(Reference.parse(text))
    if settings is not None and settings.bootstrap is not None and text not in config.contexts:
        return made_here(text, why, environ)
    return failure(
        "bases",
        f"{text} cannot be had: {why}",
        f'a `mirror` or, for Debian, a `bootstrap` in [bases."{text}"] of build.toml',
        BuildError,
    )


def made_here(text: str, why: str, environ: Mapping[str, str]) -> Finding:
    try:
        tool = run(["mmdebstrap", "--version"], env=environ, timeout=_PATIENCE)
    except (ProgramMissingError, ProgramTimeoutError):
        return failure(
            "bases",
            f"{text} cannot be pulled ({why}), nor made: mmdebstrap is missing",
            "`apt-get install mmdebstrap`",
            BuildError,
        )
    return ok("bases", f"{text} cannot be pulled, and is made by {tool.text.strip()} instead")
