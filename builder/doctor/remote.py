"""What is elsewhere: the registry, and the hosts of build.toml."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from msgspec import Struct, field

from builder.core import codec
from builder.core.doctor.findings import (
    Finding,
    of_error,
    of_host,
    of_silent_host,
    ok,
    swarm_overlays,
    warning,
)
from builder.core.errors import DeployError, OcbuildError
from builder.core.reference import Reference
from builder.core.registry_faults import RegistryError, UnreachableError
from builder.core.release import NAME
from builder.core.settings.sections import DeploySettings, Host
from builder.deploy.compose import DockerCommand
from builder.registry.client import Registry
from builder.system.threads import each


def registry(
    client: Registry, host: str, namespace: str | None, *, scheme: str, embedded: bool
) -> Iterator[Finding]:
    """The registry: does it answer, does it know us, and may we write to it.

    ``embedded``: it is the one that ocbuild starts by itself; no namespace, nothing to write.
    """
    try:
        client.check(host)
    except UnreachableError as error:
        if not embedded:
            yield of_error("registry", error)
        else:
            yield warning(
                "registry",
                f"no registry runs at {host}",
                "none, for a run with --push starts it; or: ocbuild registry start",
            )
        return
    except OcbuildError as error:
        yield of_error("registry", error)
        return
    yield ok("registry", f"{host} answers, by {scheme}, and accepts our login if it wants one")
    if namespace is None:
        return
    place = Reference(path=f"{namespace}/{NAME}", registry=host)
    try:
        client.blobs.try_to_write(place)
    except RegistryError as error:
        yield of_error("registry", error)
        return
    yield ok("registry", f"we may write to {host}/{namespace}")


class _SwarmState(Struct, frozen=True):
    state: str = field(default="inactive", name="LocalNodeState")


class _HostInfo(Struct, frozen=True):
    """The part of ``docker info`` that is judged."""

    version: str = field(default="?", name="ServerVersion")
    swarm: _SwarmState | None = field(default=None, name="Swarm")


def hosts(settings: DeploySettings, environ: Mapping[str, str]) -> Iterator[Finding]:
    """One finding for each host, and one more for each that an overlay cannot reach."""
    overlays = swarm_overlays(settings)

    def look(host: Host) -> list[Finding]:
        return _host(DockerCommand(host=host, environ=environ), overlays)

    for findings in each(look, settings.hosts.values()):
        yield from findings


def _host(engine: DockerCommand, overlays: list[str]) -> list[Finding]:
    name = engine.host.name
    try:
        engine.reach()
        asked = engine.docker("info", "--format", "{{json .}}")
        info = codec.decode(asked.text, _HostInfo, what="docker info")
    except OcbuildError as error:
        return [of_silent_host(error)]
    except codec.MalformedError:
        return [of_error("hosts", DeployError(f'host "{name}" answers, but not in JSON'))]
    state = info.swarm.state if info.swarm is not None else "inactive"
    return list(of_host(name, info.version, state, overlays))
