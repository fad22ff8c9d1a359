"""The hosts of build.toml: does each answer, and is it in the swarm that an overlay needs."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping

from builder.core.errors import DeployError, OcbuildError
from builder.core.settings.sections import DeploySettings, Host
from builder.deploy.compose import DockerCommand
from builder.doctor.finding import Finding, failure, of_error, ok
from builder.system import threads

_AT_ONCE = 16


def hosts(settings: DeploySettings, environ: Mapping[str, str]) -> Iterator[Finding]:
    """One finding for each host, and one more for each that an overlay cannot reach."""
    overlays = [one.name for one in settings.networks.values() if one.driver == "overlay"]
    wants_swarm = len(settings.hosts) > 1 and bool(overlays)

    def one(host: Host) -> list[Finding]:
        return _host(DockerCommand(host=host, environ=environ), overlays if wants_swarm else [])

    for findings in threads.each(one, settings.hosts.values(), at_once=_AT_ONCE):
        yield from findings


def _host(engine: DockerCommand, overlays: list[str]) -> list[Finding]:
    name = engine.host.name
    try:
        engine.reach()
        asked = engine.docker("info", "--format", "{{json .}}")
        info = json.loads(asked.text)
    except (OcbuildError, ValueError) as error:
        if isinstance(error, OcbuildError):
            # Whatever it is, what comes of it is that nothing can be deployed there.
            return [failure("hosts", error.message, error.hint or "", DeployError)]
        return [of_error("hosts", DeployError(f'host "{name}" answers, but not in JSON'))]
    found = [ok("hosts", f'"{name}" answers: Docker Engine {info.get("ServerVersion", "?")}')]
    state = str((info.get("Swarm") or {}).get("LocalNodeState", "inactive"))
    if overlays and state != "active":
        found.append(
            failure(
                "hosts",
                f'host "{name}" is in no swarm, and the overlay {overlays[0]} needs one',
                "`ocbuild deploy init`, then `ocbuild deploy join`",
                DeployError,
            )
        )
    return found
