"""The Docker Engine and its two helpers, buildx and compose; and the bases that it will need."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path

from builder.core.doctor.findings import (
    Finding,
    of_base_made_here,
    of_buildx,
    of_compose,
    of_engine,
    of_error,
    of_unobtainable_base,
    ok,
    version_in,
)
from builder.core.engine.answers import EngineInfo
from builder.core.errors import OcbuildError
from builder.core.reference import Reference
from builder.core.settings.config import Config
from builder.core.web import is_loopback
from builder.docker.daemon import Daemon
from builder.doctor.machine import disk
from builder.engines.bases import look_up, wanted_reference
from builder.registry.client import Registry
from builder.system.process import ProgramMissingError, ProgramTimeoutError, run

# How many seconds a program may take to tell its version.
_PATIENCE = 30.0


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
    """The engine at ``url``, which knows by itself that the loopback needs no TLS."""
    return of_engine(info, url, plain="" if is_loopback(plain) else plain)


def helpers(environ: Mapping[str, str], *, deploys: bool) -> Iterator[Finding]:
    """The plugins of docker; compose only where something is deployed by it."""
    yield of_buildx(_version(environ, "buildx"))
    if deploys:
        yield of_compose(_version(environ, "compose"))


def _version(environ: Mapping[str, str], plugin: str) -> str | None:
    text = _said(["docker", plugin, "version"], environ)
    return None if text is None else version_in(text)


def _said(words: list[str], environ: Mapping[str, str]) -> str | None:
    """Return what a program prints; None where it is missing, fails or does not end."""
    try:
        done = run(words, env=environ, timeout=_PATIENCE)
    except (ProgramMissingError, ProgramTimeoutError):
        return None
    return None if done.returncode != 0 else done.text


def bases(
    texts: tuple[str, ...], config: Config, environ: Mapping[str, str], registry: Registry
) -> Iterator[Finding]:
    """Whether each external base is there, or can be had."""
    try:
        daemon = Daemon.connect(environ)
    except OcbuildError:
        return  # of which the engine's own finding speaks
    with closing(daemon):
        for text, base in look_up(texts, config, daemon).items():
            if not isinstance(base, OcbuildError):
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
    return of_unobtainable_base(text, why)


def made_here(text: str, why: str, environ: Mapping[str, str]) -> Finding:
    """A base that cannot be pulled, for the reason ``why``, and would be made here."""
    try:
        tool = run(["mmdebstrap", "--version"], env=environ, timeout=_PATIENCE).text.strip()
    except (ProgramMissingError, ProgramTimeoutError):
        tool = None
    return of_base_made_here(text, why, tool)
