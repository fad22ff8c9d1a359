"""The swarm that an overlay needs: made on one host, joined by others, by their engines' API."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from msgspec import Struct

from builder.core.errors import DeployError
from builder.core.settings.sections import Host

LISTEN = "0.0.0.0:2377"


class Api(Protocol):
    """What is asked of an engine."""

    def get(self, path: str, doing: str) -> Any: ...
    def post(self, path: str, doing: str, body: Mapping[str, Any]) -> Any: ...


class Member(Struct, frozen=True, kw_only=True):
    """A host as the swarm knows it; ``node`` is "" for one that is in none.

    ``cluster`` is the id of the swarm, which only a manager knows; ``managers`` are the addresses
    at which a manager can be joined.
    """

    host: Host
    api: Api
    state: str
    node: str = ""
    is_manager: bool = False
    cluster: str = ""
    managers: tuple[str, ...] = ()

    @classmethod
    def look(cls, host: Host, api: Api) -> Member:
        """Ask the engine.

        Raises:
            DeployError: it cannot be asked, or is half in a swarm.

        """
        found: Mapping[str, Any] = api.get("/info", "look at").get("Swarm") or {}
        state = str(found.get("LocalNodeState") or "inactive")
        if state not in ("inactive", "active"):
            # Pending, locked, or in error.
            why = found.get("Error") or "it waits for a manager, or to be unlocked"
            raise DeployError(
                f'the swarm of host "{host.name}" is {state}: {why}',
                hint=f"`docker swarm leave` on {host.name} takes it out, if it is not to be there",
            )
        return cls(
            host=host,
            api=api,
            state=state,
            node=str(found.get("NodeID") or ""),
            is_manager=bool(found.get("ControlAvailable")),
            cluster=str((found.get("Cluster") or {}).get("ID") or ""),
            managers=tuple(str(one["Addr"]) for one in found.get("RemoteManagers") or ()),
        )

    @property
    def is_in_swarm(self) -> bool:
        return self.state == "active"


class Swarm:
    """What hosts are to each other in a swarm; each is asked once, when it is needed."""

    def __init__(self, apis: Mapping[str, tuple[Host, Api]]) -> None:
        self._apis = apis
        self._members: dict[str, Member] = {}

    def member(self, name: str) -> Member:
        if name not in self._members:
            self._members[name] = Member.look(*self._apis[name])
        return self._members[name]

    def manager_for(self, member: Member) -> Member:
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
        raise DeployError(
            f'no host of build.toml manages the swarm that host "{member.host.name}" is in',
            hint="describe its manager in [deploy.hosts]: overlays are made there",
        )


def manager_of(members: Sequence[Member]) -> Member:
    """The one manager that others join.

    Raises:
        DeployError: there is none, or they are of different swarms.

    """
    managers = [one for one in members if one.is_manager]
    if not managers:
        listed = ", ".join(one.host.name for one in members)
        raise DeployError(
            f"no host manages a swarm (asked: {listed})",
            hint="`ocbuild deploy init` makes one",
        )
    strangers = [one for one in managers if one.cluster != managers[0].cluster]
    if strangers:
        raise DeployError(
            f'the hosts "{managers[0].host.name}" and "{strangers[0].host.name}" manage two '
            "different swarms",
            hint="`docker swarm leave --force` on one of them; its services and networks are lost",
        )
    return managers[0]


def init(
    member: Member, *, address: str | None, data_address: str | None, dry_run: bool
) -> tuple[str, bool]:
    """Make the host the manager of a swarm; what was done, and whether there was anything to do.

    ``address`` is where other hosts reach it, ``data_address`` the same for the traffic of
    overlays: addresses or interfaces, None for what the engine finds.

    Raises:
        DeployError: it is a worker in a swarm, or the engine does not want to.

    """
    if member.is_manager:
        return f"manages a swarm already, at {_listed(member.managers)}", False
    if member.is_in_swarm:
        raise DeployError(
            f'the host "{member.host.name}" is a worker in a swarm',
            hint=f"`docker swarm leave` on {member.host.name}, or choose another by --host",
        )
    if dry_run:
        return "would become the manager of a new swarm", True
    asked = {"ListenAddr": LISTEN, **_addresses(address, data_address)}
    try:
        member.api.post("/swarm/init", "make a swarm on", asked)
    except DeployError as error:
        if "advertise" not in error.message or address is not None:
            raise
        raise DeployError(
            error.message,
            hint=f"--advertise-addr, or `address` of [deploy.hosts.{member.host.name}], says which",
        ) from error
    made = Member.look(member.host, member.api)
    return f"manages a new swarm, at {_listed(made.managers)}", True


def join(
    manager: Member,
    member: Member,
    *,
    dry_run: bool,
    settle: Callable[[Callable[[], bool]], bool],
) -> tuple[str, bool]:
    """Have a host join as a worker; what was done, and whether there was anything to do.

    The token goes from one engine to the other by their API, and is neither shown nor kept.
    ``settle`` waits until something is so, and says whether it came to be.

    Raises:
        DeployError: the host is in another swarm, or cannot join.

    """
    name, other = member.host.name, manager.host.name
    if member.is_in_swarm:
        if member.node not in _nodes(manager):
            raise DeployError(
                f'the host "{name}" is in another swarm than "{other}"',
                hint=f"`docker swarm leave` on {name} takes it out of that one",
            )
        return f"is in the swarm of {other} already", False
    if dry_run:
        return f"would join the swarm of {other}", True
    token = str(manager.api.get("/swarm", "look at the swarm of")["JoinTokens"]["Worker"])
    asked = {
        "ListenAddr": LISTEN,
        "RemoteAddrs": list(manager.managers),
        "JoinToken": token,
        **_addresses(member.host.address, member.host.data_address),
    }
    try:
        member.api.post("/swarm/join", "join the swarm with", asked)
    except DeployError as error:
        raise DeployError(
            error.message.replace(token, "…"),
            hint=f"can {name} reach {_listed(manager.managers)}? Swarms need the ports 2377/tcp, "
            "7946/tcp and udp, and 4789/udp",
        ) from error
    node = Member.look(member.host, member.api).node
    if not settle(lambda: _nodes(manager).get(node) == "ready"):
        raise DeployError(f'the host "{name}" joined, but "{other}" does not see it as ready')
    return f"joined the swarm of {other}", True


def _nodes(manager: Member) -> dict[str, str]:
    """The state of each node of the swarm, by its id."""
    found = manager.api.get("/nodes", "list the swarm of")
    return {str(one["ID"]): str(one.get("Status", {}).get("State", "")) for one in found}


def _addresses(address: str | None, data_address: str | None) -> dict[str, str]:
    found = {"AdvertiseAddr": address, "DataPathAddr": data_address}
    return {key: value for key, value in found.items() if value is not None}


def _listed(addresses: Sequence[str]) -> str:
    return ", ".join(addresses) or "an address that it does not tell"
