"""Makes an image by the first engine that can, or by the one that was asked for."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from msgspec.structs import replace

from builder.core.assemble import Refused
from builder.core.backoff import RetryPolicy
from builder.core.engine.solve import OutputLine, Sink
from builder.core.errors import BuildError, EngineUnavailableError, Location, did_you_mean
from builder.docker.daemon import Daemon
from builder.engines import BuildRequest, BuildResult, Engine
from builder.engines.assembler import Assembler
from builder.engines.buildkit_api import BuildKitApi
from builder.engines.buildx import Buildx
from builder.engines.classic import Classic
from builder.engines.layer_cache import LayerIndexes, ManifestCache
from builder.engines.posted import BorrowedNames
from builder.registry.client import Registry
from builder.system.clock import SystemClock
from builder.system.files import state_dir


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
