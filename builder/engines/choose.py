"""Chooses the engine that makes an image: the first that can, or the one that was asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from builder.core.errors import BuildError, EngineUnavailableError, Location, did_you_mean
from builder.engines import BuildRequest, Engine

if TYPE_CHECKING:
    from builder.docker.daemon import Daemon
    from builder.engines.assembler import Assembler


def choose(
    request: BuildRequest,
    engines: Iterable[Engine],
    forced: str | None = None,
    tell: Callable[[str], None] = lambda _text: None,
) -> Engine:
    """The first engine in order that does not refuse; ``forced`` names the only one to ask.

    ``tell`` is given the reason of each engine that was passed over.

    Raises:
        EngineUnavailableError: if there is no engine, or none of that name.
        BuildError: if every engine that may be asked refuses; the message has the reasons.

    """
    where = Location(request.dockerfile_label)
    if forced is not None:
        engine = _named(forced, tuple(engines))
        reason = engine.refusal(request)
        if reason is not None:
            raise BuildError(
                f"the engine {forced} cannot make {request.image}: {reason}",
                where=where,
                hint="without --engine, the first engine that can is taken",
            )
        return engine
    reasons: list[str] = []
    for engine in engines:
        reason = engine.refusal(request)
        if reason is None:
            return engine
        reasons.append(f"\n  {engine.name}: {reason}")
        tell(f"not by {engine.name}: {reason}")
    if not reasons:
        raise EngineUnavailableError("no engine is there to make images with")
    raise BuildError(f"no engine can make {request.image}:{''.join(reasons)}", where=where)


def available(daemon: Daemon, environ: Mapping[str, str]) -> list[Engine]:
    """All engines that work with this Docker Engine, in the order of preference."""
    from builder.engines.borrowed import BorrowedNames  # noqa: PLC0415 - they are not always needed
    from builder.engines.buildkit_api import EngineApi  # noqa: PLC0415
    from builder.engines.buildx import Buildx  # noqa: PLC0415
    from builder.engines.classic import Classic  # noqa: PLC0415

    names = BorrowedNames(daemon)
    return [Buildx(daemon, environ), EngineApi(daemon, names), Classic(daemon, names)]


def assembler(
    daemon: Daemon,
    environ: Mapping[str, str],
    *,
    platform: str,
    plain_http: frozenset[str] = frozenset(),
) -> Assembler:
    """The engine that comes before all others where it can make an image."""
    from builder.core.backoff import RetryPolicy  # noqa: PLC0415
    from builder.engines.assembler import Assembler  # noqa: PLC0415
    from builder.engines.indexes import Indexes  # noqa: PLC0415
    from builder.engines.manifest_cache import Kept  # noqa: PLC0415
    from builder.registry.client import Registry  # noqa: PLC0415
    from builder.system.clock import SystemClock  # noqa: PLC0415
    from builder.system.files import state_dir  # noqa: PLC0415

    # An engine can make the image, so nobody waits for a registry that does not answer.
    registry = Registry.connect(
        environ, clock=SystemClock(), retry=RetryPolicy(retries=0), plain_http=plain_http
    )
    indexes = Indexes(registry, state_dir(environ) / "indexes")
    target = Registry.connect(environ, clock=SystemClock(), plain_http=plain_http)
    kept = Kept(state_dir(environ) / "bases")
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
