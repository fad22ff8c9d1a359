"""The networks of stacks, and the swarm that an overlay needs: looked at, made and joined."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol

from msgspec import Struct
from msgspec.structs import asdict

from builder.core import codec
from builder.core.deploy.networks import (
    ExistingNetwork,
    ExpectedNetwork,
    existing_network,
    instead_of_overlay,
    provision,
    refuse_other,
)
from builder.core.deploy.swarm import (
    NodeState,
    already_joined,
    init_error,
    init_request,
    join_body,
    join_error,
    listed,
    manager_of,
    no_manager,
    node_state,
    node_states,
    worker_token,
)
from builder.core.errors import DeployError, OcbuildError
from builder.core.settings.sections import Host, Network
from builder.deploy.compose import DockerCommand
from builder.system.process import Completed, in_threads
from builder.system.resources import SystemClock


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
        for network_asked in asked:
            engine, network = self._place(network_asked)
            if (engine.host.name, network_asked.name) not in done:
                done.add((engine.host.name, network_asked.name))
                mtu = self._provide(network_asked, engine, network)
                if mtu is not None:
                    key = network_asked.key
                    mtus[key] = min(mtu, mtus.get(key, mtu))
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


# For how many seconds, and how often, the manager is asked for a host that has just joined.
_SETTLE_SECONDS = 30.0
_PAUSE_SECONDS = 0.2


class Api(Protocol):
    """What is asked of an engine."""

    def get(self, path: str, doing: str) -> Any: ...
    def post(self, path: str, doing: str, body: Mapping[str, Any]) -> Any: ...


class SwarmMember(NodeState, frozen=True, kw_only=True):
    """A host as the swarm knows it, and the API of its engine."""

    api: Api

    @classmethod
    def look(cls, host: Host, api: Api) -> SwarmMember:
        """Ask the engine.

        Raises:
            DeployError: it cannot be asked, or is half in a swarm.

        """
        state = node_state(host, api.get("/info", "look at"))
        return cls(api=api, **asdict(state))


def members_of(
    hosts: Sequence[Host], environ: Mapping[str, str]
) -> list[SwarmMember | OcbuildError]:
    """Each of the hosts, asked side by side, or what is wrong with it."""

    def ask(host: Host) -> SwarmMember | OcbuildError:
        engine = DockerCommand(host=host, environ=environ)
        try:
            engine.reach()
            return SwarmMember.look(host, engine.api)
        except OcbuildError as error:
            return error

    return in_threads(ask, hosts, at_once=len(hosts))


class Swarm:
    """What hosts are to each other in a swarm; each is asked once, when it is needed."""

    def __init__(self, apis: Mapping[str, tuple[Host, Api]]) -> None:
        self._apis = apis
        self._members: dict[str, SwarmMember] = {}

    def member(self, name: str) -> SwarmMember:
        if name not in self._members:
            self._members[name] = SwarmMember.look(*self._apis[name])
        return self._members[name]

    def manager_for(self, member: SwarmMember) -> SwarmMember:
        """The manager, among the hosts of build.toml, of the swarm that a host is in.

        Raises:
            DeployError: it is none of them.

        """
        if member.is_manager:
            return member
        for name in self._apis:
            other = self.member(name)
            if other.is_manager and member.node in _nodes(other):
                return other
        raise no_manager(member)


def init(
    member: SwarmMember, *, address: str | None, data_address: str | None, dry_run: bool
) -> tuple[str, bool]:
    """Make the host the manager of a swarm.

    Returns what was done, and whether there was anything to do. The addresses are those of
    ``init_request``.

    Raises:
        DeployError: it is a worker in a swarm, or the engine does not want to.

    """
    request = init_request(member, address=address, data_address=data_address, dry_run=dry_run)
    if request.body is None:
        return request.said, request.is_change
    try:
        member.api.post("/swarm/init", "make a swarm on", request.body)
    except DeployError as error:
        raise init_error(member, error, address=address) from error
    manager = SwarmMember.look(member.host, member.api)
    return f"{request.said}, at {listed(manager.managers)}", request.is_change


def join(
    manager: SwarmMember,
    member: SwarmMember,
    *,
    dry_run: bool,
    settle: Callable[[Callable[[], bool]], bool],
) -> tuple[str, bool]:
    """Have a host join as a worker.

    Returns what was done, and whether there was anything to do. The token goes from one engine to
    the other by their API, and is neither shown nor kept. ``settle`` waits until something is so,
    and says whether it came to be.

    Raises:
        DeployError: the host is in another swarm, or cannot join.

    """
    if member.is_in_swarm:
        return already_joined(manager, member, _nodes(manager)), False
    other = manager.host.name
    if dry_run:
        return f"would join the swarm of {other}", True
    token = worker_token(manager.api.get("/swarm", "look at the swarm of"))
    try:
        body = join_body(manager, member, token)
        member.api.post("/swarm/join", "join the swarm with", body)
    except DeployError as error:
        raise join_error(manager, member, error, token) from error
    node = SwarmMember.look(member.host, member.api).node
    if not settle(lambda: _nodes(manager).get(node) == "ready"):
        name = member.host.name
        raise DeployError(f'the host "{name}" joined, but "{other}" does not see it as ready')
    return f"joined the swarm of {other}", True


def settle(condition: Callable[[], bool]) -> bool:
    """Wait until something is so, for half a minute at most; whether it came to be."""
    clock, pause = SystemClock(), threading.Event()
    end = clock.monotonic() + _SETTLE_SECONDS
    while not condition():
        if clock.monotonic() >= end:
            return False
        clock.wait(pause, _PAUSE_SECONDS)
    return True


def _nodes(manager: SwarmMember) -> dict[str, str]:
    return node_states(manager.api.get("/nodes", "list the swarm of"))
