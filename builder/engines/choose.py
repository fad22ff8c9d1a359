"""Makes an image by the first engine that can; and what of this machine a build may need."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from msgspec.structs import replace

from builder.core.assemble import Refused
from builder.core.engine.statuses import OutputLine, Sink
from builder.core.errors import (
    BuildError,
    ConfigError,
    EngineUnavailableError,
    Location,
    did_you_mean,
)
from builder.core.schedule import RetryPolicy
from builder.docker.daemon import Daemon
from builder.engines import BuildRequest, BuildResult, Engine
from builder.engines.assembler import Assembler
from builder.engines.buildx import Buildx
from builder.engines.layer_cache import LayerIndexes, ManifestCache
from builder.engines.posted import BorrowedNames, BuildKitApi, Classic
from builder.registry.client import Registry
from builder.system.files import state_dir
from builder.system.resources import SystemClock


class Engines:
    """The Maker of a run: what needs no engine is made in process, the rest by ``others``.

    ``forced`` names the only one to ask; ``others`` are asked for when the first image needs them.
    """

    def __init__(
        self, own: Engine, others: Callable[[], Sequence[Engine]], forced: str | None
    ) -> None:
        self._own = own
        self._find_others = others
        self._others: Sequence[Engine] | None = None
        self._forced = forced
        self._lock = threading.Lock()

    def make(self, request: BuildRequest, sink: Sink, cancel: threading.Event) -> BuildResult:
        return make(request, self._candidates(request), sink, cancel, forced=self._forced)

    def _candidates(self, request: BuildRequest) -> Iterator[Engine]:
        if request.in_process or self._forced:
            yield self._own
        with self._lock:
            if self._others is None:
                self._others = self._find_others()
        yield from self._others


def make(
    request: BuildRequest,
    engines: Iterable[Engine],
    sink: Sink,
    cancel: threading.Event,
    *,
    forced: str | None = None,
) -> BuildResult:
    """The image by the first engine in order that does not refuse; ``forced`` is the only one.

    Raises:
        EngineUnavailableError: if there is no engine, or none of that name.
        BuildError: if every engine that may be asked refuses; the message has the reasons.

    """
    where = Location(request.dockerfile_label)
    if forced is not None:
        engine = _named(forced, tuple(engines))
        try:
            return _build(engine, request, sink, cancel)
        except Refused as refused:
            raise BuildError(
                f"the engine {forced} cannot make {request.image}: {refused.reason}",
                where=where,
                hint="without --engine, the first engine that can is taken",
            ) from refused
    reasons: list[str] = []
    for engine in engines:
        try:
            return _build(engine, request, sink, cancel)
        except Refused as refused:
            reasons.append(f"\n  {engine.name}: {refused.reason}")
            sink(OutputLine(text=f"not by {engine.name}: {refused.reason}"))
    if not reasons:
        raise EngineUnavailableError("no engine is there to make images with")
    raise BuildError(f"no engine can make {request.image}:{''.join(reasons)}", where=where)


def _build(
    engine: Engine, request: BuildRequest, sink: Sink, cancel: threading.Event
) -> BuildResult:
    return replace(engine.build(request, sink, cancel), engine=engine.name)


def maker(
    daemon: Daemon,
    environ: Mapping[str, str],
    *,
    platform: str,
    plain_http: frozenset[str],
    forced: str | None,
) -> Engines:
    """The Maker of a run on this machine; the Docker Engine's ways are looked for when needed."""
    own = assembler(daemon, environ, platform=platform, plain_http=plain_http)
    return Engines(own, lambda: available(daemon, environ), forced)


def available(daemon: Daemon, environ: Mapping[str, str]) -> list[Engine]:
    """All engines that work with this Docker Engine, in the order of preference."""
    names = BorrowedNames(daemon)
    return [Buildx(daemon, environ), BuildKitApi(daemon, names), Classic(daemon, names)]


def assembler(
    daemon: Daemon,
    environ: Mapping[str, str],
    *,
    platform: str,
    plain_http: frozenset[str] = frozenset(),
) -> Assembler:
    """The engine that comes before all others where it can make an image."""
    # An engine can make the image, so nobody waits for a registry that does not answer.
    registry = Registry.connect(
        environ, clock=SystemClock(), retry=RetryPolicy(retries=0), plain_http=plain_http
    )
    indexes = LayerIndexes(registry, state_dir(environ) / "indexes")
    target = Registry.connect(environ, clock=SystemClock(), plain_http=plain_http)
    kept = ManifestCache(state_dir(environ) / "bases")
    return Assembler(daemon, registry, indexes, platform=platform, target=target, kept=kept)


def _named(name: str, engines: Sequence[Engine]) -> Engine:
    for engine in engines:
        if engine.name == name:
            return engine
    known = [engine.name for engine in engines]
    raise EngineUnavailableError(
        f'there is no engine "{name}"',
        hint=did_you_mean(name, known) or f"there are: {', '.join(known)}",
    )


HOST = "host"
# As Go looks for them: https://go.dev/src/crypto/x509/root_linux.go.
_BUNDLES = (
    "/etc/ssl/certs/ca-certificates.crt",  # Debian, Ubuntu, Arch, Gentoo
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",  # Fedora, RHEL
    "/etc/pki/tls/certs/ca-bundle.crt",  # older RHEL
    "/etc/ssl/ca-bundle.pem",  # openSUSE
    "/etc/ssl/cert.pem",  # Alpine, BSD, macOS
)


def ca_bundle(setting: str | None, environ: Mapping[str, str]) -> Path | None:
    """The file of CA certificates that builds get as the secret "ca-bundle".

    ``setting`` is ``ca-bundle`` of build.toml: a file, or "host" for what this machine trusts.

    Raises:
        ConfigError: if there is no such file.

    """
    if not setting:
        return None
    if setting != HOST:
        path = Path(setting).expanduser()
        if not path.is_file():
            raise ConfigError(
                f"ca-bundle: there is no file {path}",
                hint='name a PEM file, or write ca-bundle = "host"',
            )
        return path
    named = [environ[name] for name in ("SSL_CERT_FILE", "CURL_CA_BUNDLE") if environ.get(name)]
    for candidate in (*named, *_BUNDLES):
        if Path(candidate).is_file():
            return Path(candidate)
    raise ConfigError(
        'ca-bundle = "host": this machine has no file of CA certificates in a known place',
        hint="install the package ca-certificates, or set SSL_CERT_FILE",
    )
