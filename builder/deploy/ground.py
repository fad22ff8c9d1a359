"""What has to be so before anything is started: stacks rendered, networks there, images pulled."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from msgspec import Struct

from builder.core.release import Release
from builder.core.settings.config import registry_host
from builder.deploy import networks, pins
from builder.deploy.compose import Engine
from builder.deploy.pulling import Puller
from builder.deploy.site import Site
from builder.deploy.swarm import Swarm
from builder.docker.logins import DockerLogins
from builder.system import threads

# Stacks that are rendered side by side: each is a program that waits little and works little.
_AT_ONCE = 8

Compose = dict[str, Any]


class Ground(Struct, frozen=True, kw_only=True):
    """Lays the ground for stacks of a site; ``env_files`` are those of addresses and secrets."""

    site: Site
    environ: Mapping[str, str]
    env_files: Mapping[str, Path | None]
    say: Callable[[str], None]
    dry_run: bool = False

    def stacks(self, release: Release) -> dict[str, Compose]:
        """The chosen stacks, whole and pinned; the networks that they expect are there.

        Raises:
            DeployError: an image is not in the release, a network is another one, and the like.

        """
        host = registry_host(self.site.config)

        def pin(name: str, compose: Compose) -> Compose:
            for service, image in pins.pinned(name, compose, release, host).items():
                compose["services"][service]["image"] = image
            return compose

        return self.render(self.site.stacks, pins.variables(release, host), pin)

    def render(
        self,
        stacks: Iterable[str],
        told: Mapping[str, str],
        pin: Callable[[str, Compose], Compose] = lambda _, compose: compose,
    ) -> dict[str, Compose]:
        """Fill in the variables of ``told``, and those that tell of the stacks' networks.

        ``pin`` makes the final form, or raises, before any network is made.
        """
        chosen = {name: self.site.stacks[name] for name in stacks}
        rendered = self._render(chosen, told, pin)
        known = networks.variables(self._networks(rendered))
        # A network has to be asked for what is told of it, and its name is in the compose file.
        files = {name: stack.file.read_text("utf-8") for name, stack in chosen.items()}
        asking = [name for name, text in files.items() if any(word in text for word in known)]
        return rendered | self._render(asking, {**told, **known}, pin)

    def pull(self, release: Release, stacks: Mapping[str, Mapping[str, Any]]) -> None:
        """Have each host pull what of the release it will run and does not have yet.

        Raises:
            DeployError: one cannot.

        """
        host = registry_host(self.site.config)
        wanted: dict[str, set[str]] = {}
        for name, compose in stacks.items():
            images = {text for text in pins.images(compose).values() if "@" in text}
            wanted.setdefault(self.site.stacks[name].host, set()).update(images)
        with self.site.registry(self.environ) as registry:
            Puller(
                registry=registry,
                logins=DockerLogins(self.environ).login,
                known=tuple(str(one.reference(host)) for one in release.images.values()),
                cancel=self.site.cancel,
                clock=self.site.clock,
                say=self.say,
            ).pull([(self.site.engines[name], images) for name, images in sorted(wanted.items())])

    def _render(
        self,
        stacks: Iterable[str],
        told: Mapping[str, str],
        pin: Callable[[str, Compose], Compose],
    ) -> dict[str, Compose]:
        def one(name: str) -> Compose:
            file = self.site.stacks[name].file
            return pin(name, self.site.engine(name).render(file, self.env_files[name], told))

        names = list(stacks)
        return dict(zip(names, threads.each(one, names, at_once=_AT_ONCE), strict=True))

    def _networks(self, rendered: Mapping[str, Mapping[str, Any]]) -> dict[str, int]:
        """See to the networks of all stacks; the MTU of each, by its name in compose files."""
        described, site = self.site.config.deploy, self.site
        # The one that manages a swarm need not be one on which something is started now.
        engines = {
            name: site.engines.get(name)
            or Engine(host=host, environ=self.environ, cancel=site.cancel)
            for name, host in described.hosts.items()
        }
        return networks.Networks(
            engines=engines,
            swarm=Swarm({name: (one.host, one.api) for name, one in engines.items()}),
            several=len({stack.host for stack in described.stacks.values()}) > 1,
            dry_run=self.dry_run,
            say=self.say,
        ).provide(
            one
            for name, compose in rendered.items()
            for one in networks.wanted(site.stacks[name].host, compose, described.networks)
        )
