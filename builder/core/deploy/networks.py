"""Networks that stacks join: what Docker is asked for, and how one differs from build.toml.

The documents are those of ``docker network inspect``, NetworkInspect of
https://docs.docker.com/reference/api/engine/; options of drivers are described at
https://docs.docker.com/engine/network/drivers/.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from msgspec import Struct, field
from msgspec.structs import replace

from builder.core import codec
from builder.core.deploy.stack import Compose, external_networks
from builder.core.errors import DeployError
from builder.core.settings.sections import Network

MTU_OPTION = "com.docker.network.driver.mtu"
# What docker takes where it is told nothing, in bytes: an overlay leaves room for its tunnel. A
# macvlan has the MTU of its parent, which the kernel sees to.
_MTU = {"bridge": 1500, "overlay": 1450}


class ExpectedNetwork(Struct, frozen=True, kw_only=True):
    """A network that a stack on this host expects; ``key`` is its name in the compose file.

    ``described`` is its table of build.toml, if it has one.
    """

    host: str
    name: str
    key: str
    described: Network | None

    @property
    def is_overlay(self) -> bool:
        return self.described is not None and self.described.driver == "overlay"


class _Pool(Struct, frozen=True):
    subnet: str | None = field(default=None, name="Subnet")
    ip_range: str | None = field(default=None, name="IPRange")
    gateway: str | None = field(default=None, name="Gateway")


class _Pools(Struct, frozen=True):
    pools: list[_Pool] | None = field(default=None, name="Config")


class ExistingNetwork(Struct, frozen=True, rename="pascal"):
    """A network as the Docker Engine tells of it."""

    driver: str = ""
    options: dict[str, str] | None = None
    ipam: _Pools | None = field(default=None, name="IPAM")
    attachable: bool = False

    @property
    def mtu(self) -> int | None:
        """Its MTU in bytes; None where it is that of its parent."""
        text = (self.options or {}).get(MTU_OPTION, "")
        return int(text) if text.isdecimal() else _MTU.get(self.driver)

    @property
    def pool(self) -> _Pool:
        pools = self.ipam.pools if self.ipam is not None else None
        return pools[0] if pools else _Pool()


def existing_network(text: str) -> ExistingNetwork | None:
    """The network that ``docker network inspect`` printed.

    Raises:
        MalformedError: it printed something else.

    """
    networks = codec.decode(text, list[ExistingNetwork], what="what docker says of a network")
    return networks[0] if networks else None


def expected(
    host: str, compose: Compose, networks: Mapping[str, Network]
) -> tuple[ExpectedNetwork, ...]:
    """The networks that a rendered stack expects to be there."""
    return tuple(
        ExpectedNetwork(host=host, name=name, key=key, described=networks.get(key))
        for key, name in external_networks(compose).items()
    )


def variables(mtus: Mapping[str, int]) -> dict[str, str]:
    """What compose files are told of networks: MTU_INTERNAL is that of the network internal."""
    return {f"MTU_{re.sub(r'[^A-Z0-9]', '_', key.upper())}": str(mtu) for key, mtu in mtus.items()}


def creation(name: str, network: Network) -> list[str]:
    """The words for docker that make it."""
    words = ["network", "create", "--driver", network.driver]
    if network.driver == "overlay":
        words.append("--attachable")
    if network.parent is not None:
        words += ["--opt", f"parent={network.parent}"]
    if network.mtu is not None:
        words += ["--opt", f"{MTU_OPTION}={network.mtu}"]
    options = {
        "--subnet": network.subnet,
        "--ip-range": network.ip_range,
        "--gateway": network.gateway,
    }
    for option, value in options.items():
        if value is not None:
            words += [option, value]
    return [*words, name]


def differences(existing: ExistingNetwork, network: Network) -> list[str]:
    """The settings in which a network differs from its table in build.toml."""
    options, pool = existing.options or {}, existing.pool
    wants_mtu = None if network.mtu is None else str(network.mtu)
    settings = (
        ("driver", existing.driver, network.driver),
        ("parent", options.get("parent"), network.parent),
        ("mtu", options.get(MTU_OPTION), wants_mtu),
        ("subnet", pool.subnet, network.subnet),
        ("ip_range", pool.ip_range, network.ip_range),
        ("gateway", pool.gateway, network.gateway),
    )
    different = [
        f"{what} is {has or 'not set'}, not {wants}"
        for what, has, wants in settings
        if wants is not None and has != wants
    ]
    if existing.driver == network.driver == "overlay" and not existing.attachable:
        different.append("containers cannot be attached to it")
    return different


def instead_of_overlay(asked: ExpectedNetwork, network: Network, *, several_hosts: bool) -> Network:
    """The network of a host that is in no swarm: one host alone does as well with a bridge.

    Raises:
        DeployError: stacks are on several hosts.

    """
    if several_hosts:
        raise DeployError(
            f'host "{asked.host}" is in no swarm, and the overlay {network.name} needs one',
            hint="`ocbuild deploy init`, then `ocbuild deploy join`",
        )
    return replace(network, driver="bridge")


class Provision(Struct, frozen=True, kw_only=True):
    """What is to be done about a network; ``words`` for docker make it, if it has to be made."""

    mtu: int | None
    words: tuple[str, ...] = ()
    driver: str = ""
    note: str = ""


def provision(
    asked: ExpectedNetwork, network: Network | None, existing: ExistingNetwork | None, host: str
) -> Provision:
    """What is to be done so that ``host`` has the network, described as ``network``.

    Raises:
        DeployError: it exists with other settings, or is missing and not described.

    """
    if existing is not None:
        refuse_other(asked, network, existing, host)
        return Provision(mtu=existing.mtu)
    if network is None:
        raise DeployError(
            f'the network {asked.name} is missing on host "{host}", and build.toml does not '
            "describe it",
            hint="add a table such as: [deploy.networks.internal]",
        )
    note = ""
    if network is not asked.described:
        note = f"network {network.name}: a bridge instead of an overlay, for there is no swarm"
    return Provision(
        mtu=network.mtu or _MTU.get(network.driver),
        words=tuple(creation(asked.name, network)),
        driver=network.driver,
        note=note,
    )


def refuse_other(
    asked: ExpectedNetwork, network: Network | None, existing: ExistingNetwork, host: str
) -> None:
    """Make sure that a network has the settings of build.toml, if that describes it.

    Raises:
        DeployError: it has others.

    """
    different = [] if network is None else differences(existing, network)
    if not different:
        return
    table = asked.described.name if asked.described is not None else asked.key
    raise DeployError(
        f'the network {asked.name} on host "{host}" exists with other settings: '
        f"{'; '.join(different)}",
        hint=f"change [deploy.networks.{table}], or `docker network rm {asked.name}`",
    )
