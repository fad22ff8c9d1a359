"""The swarm that overlays need: what hosts are in it, and what makes or joins one.

The documents are those of the Docker Engine's API, SystemInfo, SwarmInit and SwarmJoin of
https://docs.docker.com/reference/api/engine/.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from msgspec import Struct, field

from builder.core import codec
from builder.core.errors import DeployError
from builder.core.settings.sections import Host

LISTEN = "0.0.0.0:2377"


class _Manager(Struct, frozen=True):
    address: str = field(name="Addr")


class _Cluster(Struct, frozen=True):
    id: str = field(default="", name="ID")


class _SwarmInfo(Struct, frozen=True):
    """The part of ``docker info`` that tells of the swarm."""

    state: str = field(default="", name="LocalNodeState")
    error: str | None = field(default=None, name="Error")
    node: str | None = field(default=None, name="NodeID")
    is_manager: bool = field(default=False, name="ControlAvailable")
    cluster: _Cluster | None = field(default=None, name="Cluster")
    managers: list[_Manager] | None = field(default=None, name="RemoteManagers")


class _Info(Struct, frozen=True):
    swarm: _SwarmInfo | None = field(default=None, name="Swarm")


class NodeState(Struct, frozen=True, kw_only=True):
    """A host as the swarm knows it; ``node`` is "" for one that is in none.

    ``cluster`` is the id of the swarm, which only a manager knows; ``managers`` are the addresses
    at which a manager can be joined.
    """

    host: Host
    state: str
    node: str = ""
    is_manager: bool = False
    cluster: str = ""
    managers: tuple[str, ...] = ()

    @property
    def is_in_swarm(self) -> bool:
        return self.state == "active"


NodeT = TypeVar("NodeT", bound=NodeState)


def node_state(host: Host, info: object) -> NodeState:
    """The state of a host, out of what its Docker Engine says of itself.

    Raises:
        DeployError: it is half in a swarm, or says something odd.

    """
    try:
        swarm = codec.convert(info, _Info, what="what it says of its swarm").swarm or _SwarmInfo()
    except codec.MalformedError as error:
        raise DeployError(f'host "{host.name}": {error}') from error
    state = swarm.state or "inactive"
    if state not in ("inactive", "active"):
        # Pending, locked, or in error.
        why = swarm.error or "it waits for a manager, or to be unlocked"
        raise DeployError(
            f'the swarm of host "{host.name}" is {state}: {why}',
            hint=f"`docker swarm leave` on {host.name} takes it out, if it is not to be there",
        )
    return NodeState(
        host=host,
        state=state,
        node=swarm.node or "",
        is_manager=swarm.is_manager,
        cluster=swarm.cluster.id if swarm.cluster is not None else "",
        managers=tuple(one.address for one in swarm.managers or ()),
    )


class _NodeStatus(Struct, frozen=True):
    state: str = field(default="", name="State")


class _Node(Struct, frozen=True):
    id: str = field(name="ID")
    status: _NodeStatus = field(default_factory=_NodeStatus, name="Status")


def node_states(document: object) -> dict[str, str]:
    """The state of each node of a swarm, by its id, out of what a manager lists.

    Raises:
        DeployError: it lists something odd.

    """
    try:
        nodes = codec.convert(document, list[_Node], what="the list of the swarm's nodes")
    except codec.MalformedError as error:
        raise DeployError(str(error)) from error
    return {one.id: one.status.state for one in nodes}


class _Tokens(Struct, frozen=True):
    worker: str = field(name="Worker")


class _Swarm(Struct, frozen=True):
    tokens: _Tokens = field(name="JoinTokens")


def worker_token(document: object) -> str:
    """The token by which workers join, out of what a manager says of its swarm.

    Raises:
        DeployError: it does not tell.

    """
    try:
        return codec.convert(document, _Swarm, what="").tokens.worker
    except codec.MalformedError:
        # Whatever was said is in no message, for a token may be in it.
        raise DeployError("the manager of the swarm does not tell its token") from None


def manager_of(members: Sequence[NodeT]) -> NodeT:
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


def no_manager(member: NodeState) -> DeployError:
    """The error for a host in a swarm that none of our hosts manages."""
    return DeployError(
        f'no host of build.toml manages the swarm that host "{member.host.name}" is in',
        hint="describe its manager in [deploy.hosts]: overlays are made there",
    )


class SwarmRequest(Struct, frozen=True, kw_only=True):
    """What an engine is asked; nothing where ``body`` is None, and then ``said`` says why."""

    said: str
    is_change: bool
    body: Mapping[str, Any] | None = None


def init_request(
    member: NodeState, *, address: str | None, data_address: str | None, dry_run: bool
) -> SwarmRequest:
    """What makes the host the manager of a swarm.

    ``address`` is where other hosts reach it, ``data_address`` the same for the traffic of
    overlays: addresses or interfaces, None for what the engine finds.

    Raises:
        DeployError: it is a worker in a swarm.

    """
    if member.is_manager:
        said = f"manages a swarm already, at {listed(member.managers)}"
        return SwarmRequest(said=said, is_change=False)
    if member.is_in_swarm:
        raise DeployError(
            f'the host "{member.host.name}" is a worker in a swarm',
            hint=f"`docker swarm leave` on {member.host.name}, or choose another by --host",
        )
    if dry_run:
        return SwarmRequest(said="would become the manager of a new swarm", is_change=True)
    body = {"ListenAddr": LISTEN, **_addresses(address, data_address)}
    return SwarmRequest(said="manages a new swarm", is_change=True, body=body)


def init_error(member: NodeState, error: DeployError, *, address: str | None) -> DeployError:
    """The error of making a swarm, with advice where the engine cannot choose an address."""
    if "advertise" not in error.message or address is not None:
        return error
    return DeployError(
        error.message,
        hint=f"--advertise-addr, or `address` of [deploy.hosts.{member.host.name}], says which",
    )


def already_joined(manager: NodeState, member: NodeState, nodes: Mapping[str, str]) -> str:
    """What there is to say of a host that is in the swarm of ``manager``, which lists ``nodes``.

    Raises:
        DeployError: the host is in another swarm.

    """
    if member.node not in nodes:
        raise DeployError(
            f'the host "{member.host.name}" is in another swarm than "{manager.host.name}"',
            hint=f"`docker swarm leave` on {member.host.name} takes it out of that one",
        )
    return f"is in the swarm of {manager.host.name} already"


def join_body(manager: NodeState, member: NodeState, token: str) -> dict[str, Any]:
    """What a Docker Engine is asked so that its host joins the swarm of ``manager``."""
    return {
        "ListenAddr": LISTEN,
        "RemoteAddrs": list(manager.managers),
        "JoinToken": token,
        **_addresses(member.host.address, member.host.data_address),
    }


def join_error(
    manager: NodeState, member: NodeState, error: DeployError, token: str
) -> DeployError:
    """The error of joining, without the token, and with advice."""
    return DeployError(
        error.message.replace(token, "…"),
        hint=f"can {member.host.name} reach {listed(manager.managers)}? Swarms need the ports "
        "2377/tcp, 7946/tcp and udp, and 4789/udp",
    )


def _addresses(address: str | None, data_address: str | None) -> dict[str, str]:
    addresses = {"AdvertiseAddr": address, "DataPathAddr": data_address}
    return {key: value for key, value in addresses.items() if value is not None}


def listed(addresses: Sequence[str]) -> str:
    """Addresses for a message."""
    return ", ".join(addresses) or "an address that it does not tell"
