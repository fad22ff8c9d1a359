"""Makes whole what the registry knows of a deployment, from the files of this machine."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from builder.core.errors import DeployError
from builder.core.options import DeployOptions
from builder.core.settings.config import registry_host
from builder.deploy import environment, pins
from builder.deploy.ground import Ground
from builder.deploy.memory import Memory
from builder.deploy.records import Deployment
from builder.deploy.site import Site


def env_files_of(
    site: Site, options: DeployOptions, memory: Memory, say: Callable[[str], None]
) -> dict[str, Path | None]:
    """The file of addresses and secrets of each stack.

    Raises:
        DeployError: it is missing, and something was deployed with one: new secrets would not fit.

    """
    if options.env_file is not None:
        return dict.fromkeys(site.stacks, options.env_file)
    folders = {name: stack.file.parent for name, stack in site.stacks.items()}
    files: dict[Path, Path | None] = {}
    for folder in dict.fromkeys(folders.values()):
        file = folder / environment.FILE
        used = memory.secrets_in_use()
        missing = not file.exists() and (folder / environment.EXAMPLE).exists()
        if missing and used is not None:
            by = used.now.by if used.now is not None else used.by
            raise DeployError(
                f"{file} is missing here, and {used.stack} was deployed with one, by {by}:"
                " new secrets would open nothing of what is in its volumes",
                hint="copy it from there, or name it by --env-file",
            )
        files[folder] = environment.ensure(folder)
        if missing:
            say(f"wrote {file} with new secrets; keep it")
    return {name: files[folder] for name, folder in folders.items()}


def complete(site: Site, ground: Ground) -> None:
    """Make whole what was deployed from another machine, as far as the files here describe it."""
    config = site.config
    # Images are pinned by what was deployed; the tags only have to be something.
    told = {"REGISTRY": registry_host(config), "NAMESPACE": config.project.namespace}
    told |= dict.fromkeys(map(pins.variable, config.groups), "deployed")
    for name in site.stacks:
        now, before = site.records.current(name), site.records.previous(name)
        if all(one is None or one.whole for one in (now, before)):
            continue
        rendered = ground.render([name], told)[name]
        site.records.adopted(name, _with(rendered, now), _with(rendered, before))


def whole(stack: str, deployment: Deployment) -> Deployment:
    """The deployment, if all of it is known.

    Raises:
        DeployError: it is not.

    """
    if deployment.whole:
        return deployment
    raise DeployError(
        f"{stack}: its compose file here describes other services than those that ran before,"
        f" {', '.join(sorted(deployment.images))}",
        hint="roll back from the commit that was deployed, or deploy that release",
    )


def _with(rendered: Mapping[str, Any], one: Deployment | None) -> Deployment | None:
    if one is None or one.whole:
        return one
    services = one.compose["services"]
    if services.keys() != rendered["services"].keys():
        return one
    pinned = {
        name: {**service, "image": services[name]["image"]}
        for name, service in rendered["services"].items()
    }
    return replace(one, compose={**rendered, "services": pinned}, whole=True, adopted=True)
