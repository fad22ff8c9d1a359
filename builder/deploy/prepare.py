"""What has to be so before anything is started: stacks rendered, networks made, images pulled."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from msgspec import Struct

from builder.core.deploy.networks import expected, variables as network_variables
from builder.core.deploy.stack import (
    Compose,
    images_by_host,
    mentioning,
    pinned,
    stand_in_variables,
    variables,
    with_images,
)
from builder.core.release import Release
from builder.core.settings.config import registry_host
from builder.deploy.compose import DockerCommand
from builder.deploy.networks import Networks, Swarm
from builder.deploy.project import DeployedProject
from builder.deploy.pulling import Puller
from builder.docker.logins import DockerLogins
from builder.system.process import in_threads

# Stacks that are rendered side by side: each is a program that waits little and works little.
_AT_ONCE = 8

Rendered = dict[str, Any]


def _unpinned(_stack: str, compose: Rendered) -> Rendered:
    return compose


class Preparation(Struct, frozen=True, kw_only=True):
    """Prepares stacks of a project; ``env_files`` are those of addresses and secrets."""

    project: DeployedProject
    environ: Mapping[str, str]
    env_files: Mapping[str, Path | None]
    say: Callable[[str], None]
    dry_run: bool = False

    def stacks(self, release: Release) -> dict[str, Rendered]:
        """The chosen stacks, complete and pinned; the networks that they expect exist then.

        Raises:
            DeployError: an image is not in the release, a network has other settings, and the like.

        """
        host = registry_host(self.project.config)

        def pin(name: str, compose: Rendered) -> Rendered:
            return with_images(compose, pinned(name, compose, release, host))

        return self.render(self.project.stacks, variables(release, host), pin)

    def render(
        self,
        stacks: Iterable[str],
        values: Mapping[str, str],
        pin: Callable[[str, Rendered], Rendered] = _unpinned,
    ) -> dict[str, Rendered]:
        """Fill in the variables of ``values``, and those that tell of the stacks' networks.

        ``pin`` makes the final form, or raises, before any network is made.

        Raises:
            DeployError: a compose file cannot be rendered, or a network cannot be made.

        """
        chosen = {name: self.project.stacks[name] for name in stacks}
        rendered = self._render(chosen, values, pin)
        mtus = network_variables(self._networks(rendered))
        # A network has to be asked for what is told of it, and its name is in the compose file.
        texts = {name: stack.file.read_text("utf-8") for name, stack in chosen.items()}
        return rendered | self._render(mentioning(texts, mtus), {**values, **mtus}, pin)

    def pull(self, release: Release, stacks: Mapping[str, Compose]) -> None:
        """Have each host pull what of the release it will run and does not have yet.

        Raises:
            DeployError: one cannot.

        """
        project, host = self.project, registry_host(self.project.config)
        hosts = {name: stack.host for name, stack in project.stacks.items()}
        with project.registry(self.environ) as registry:
            Puller(
                registry=registry,
                logins=DockerLogins(self.environ).login,
                known=tuple(str(one.reference(host)) for one in release.images.values()),
                cancel=project.cancel,
                clock=project.clock,
                say=self.say,
            ).pull(
                [
                    (project.engines[name], images)
                    for name, images in images_by_host(stacks, hosts).items()
                ]
            )

    def complete_records(self) -> None:
        """Complete what was deployed from another machine, as far as the files here describe it."""
        config = self.project.config
        # Images are pinned by what was deployed.
        values = stand_in_variables(registry_host(config), config.project.namespace, config.groups)
        for name in self.project.stacks:
            if not self.project.records.history(name).is_complete:
                self.project.records.completed(name, self.render([name], values)[name])

    def _render(
        self,
        stacks: Iterable[str],
        values: Mapping[str, str],
        pin: Callable[[str, Rendered], Rendered],
    ) -> dict[str, Rendered]:
        def render(name: str) -> Rendered:
            file = self.project.stacks[name].file
            return pin(name, self.project.engine(name).render(file, self.env_files[name], values))

        names = list(stacks)
        return dict(zip(names, in_threads(render, names, at_once=_AT_ONCE), strict=True))

    def _networks(self, rendered: Mapping[str, Compose]) -> dict[str, int]:
        """Make the networks of all stacks; returns the MTU of each, by its key in compose files."""
        settings, project = self.project.config.deploy, self.project
        # The one that manages a swarm need not be one on which something is started now.
        engines = {
            name: project.engines.get(name)
            or DockerCommand(host=host, environ=self.environ, cancel=project.cancel)
            for name, host in settings.hosts.items()
        }
        return Networks(
            engines=engines,
            swarm=Swarm({name: (engine.host, engine.api) for name, engine in engines.items()}),
            several=len({stack.host for stack in settings.stacks.values()}) > 1,
            dry_run=self.dry_run,
            say=self.say,
        ).provide(
            network
            for name, compose in rendered.items()
            for network in expected(project.stacks[name].host, compose, settings.networks)
        )
