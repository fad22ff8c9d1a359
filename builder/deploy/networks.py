"""The networks that stacks join: made where they are missing, compared where they exist."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Protocol

from msgspec import Struct

from builder.core import codec
from builder.core.deploy.networks import (
    ExistingNetwork,
    ExpectedNetwork,
    existing_network,
    instead_of_overlay,
    provision,
    refuse_other,
)
from builder.core.deploy.swarm import manager_of
from builder.core.errors import DeployError
from builder.core.settings.sections import Host, Network
from builder.deploy.swarm import Swarm
from builder.system.process import Completed


class HostDocker(Protocol):
    """What is asked of the engine of a host."""

    @property
    def host(self) -> Host: ...
    def docker(self, *words: str) -> Completed: ...


class Networks(Struct, frozen=True, kw_only=True):
    """The networks on the hosts of a project; ``several``: stacks are spread over hosts."""

    engines: Mapping[str, HostDocker]
    swarm: Swarm
    several: bool
    dry_run: bool
    say: Callable[[str], None]

    def provide(self, asked: Iterable[ExpectedNetwork]) -> dict[str, int]:
        """Make sure that they exist as they are described; returns the MTU of each, by its key.

        Raises:
            DeployError: one exists with other settings, or it cannot be made.

        """
        mtus: dict[str, int] = {}
        done: set[tuple[str, str]] = set()
        asked = list(asked)
        self._check_swarms({each.host for each in asked if each.is_overlay})
        for each in asked:
            engine, network = self._place(each)
            if (engine.host.name, each.name) not in done:
                done.add((engine.host.name, each.name))
                mtu = self._provide(each, engine, network)
                if mtu is not None:
                    mtus[each.key] = min(mtu, mtus.get(each.key, mtu))
        return mtus

    def _check_swarms(self, hosts: Iterable[str]) -> None:
        """Two overlays in two swarms are not one, though they have one name."""
        members = [self.swarm.member(name) for name in sorted(hosts)]
        managers = [self.swarm.manager_for(each) for each in members if each.is_in_swarm]
        if managers:
            manager_of(managers)

    def _place(self, each: ExpectedNetwork) -> tuple[HostDocker, Network | None]:
        """Return the engine on which it is looked for and made, and what it is made as.

        An overlay belongs to the swarm's manager.
        """
        engine, network = self.engines[each.host], each.described
        if network is None or not each.is_overlay:
            return engine, network
        member = self.swarm.member(each.host)
        if not member.is_in_swarm:
            return engine, instead_of_overlay(each, network, several_hosts=self.several)
        manager = self.swarm.manager_for(member)
        local = None if manager is member else _inspect(engine, each.name)
        # A worker knows an overlay only as long as one of its containers is in it.
        if local is not None and local.driver != "overlay":
            refuse_other(each, network, local, engine.host.name)
        return self.engines[manager.host.name], network

    def _provide(
        self, each: ExpectedNetwork, engine: HostDocker, network: Network | None
    ) -> int | None:
        host = engine.host.name
        needed = provision(each, network, _inspect(engine, each.name), host)
        if needed.note:
            self.say(needed.note)
        if needed.words and self.dry_run:
            self.say(f"network {each.name}: would be made ({needed.driver})")
        elif needed.words:
            created = engine.docker(*needed.words)
            if created.returncode != 0:
                raise DeployError(
                    f'cannot make the network {each.name} on host "{host}":'
                    f" {created.complaint(lines=2)}"
                )
            self.say(f"network {each.name}: made ({needed.driver})")
        return needed.mtu


def _inspect(engine: HostDocker, name: str) -> ExistingNetwork | None:
    inspected = engine.docker("network", "inspect", name)
    if inspected.returncode != 0:
        return None
    try:
        return existing_network(inspected.text)
    except codec.MalformedError as error:
        raise DeployError(f'host "{engine.host.name}": {error}') from error
