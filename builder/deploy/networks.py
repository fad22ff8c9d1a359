"""The networks that stacks join: made where they are missing, compared where they are there."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol

from msgspec import Struct
from msgspec.structs import replace

from builder.core.errors import DeployError
from builder.core.settings.sections import Host, Network
from builder.deploy.swarm import Swarm, manager_of
from builder.system.process import Completed

MTU_OPTION = "com.docker.network.driver.mtu"
# What docker takes where it is told nothing: an overlay leaves room for its tunnel. A macvlan has
# the MTU of its parent, which the kernel sees to.
_MTU = {"bridge": 1500, "overlay": 1450}


class Engine(Protocol):
    """What is asked of the engine of a host."""

    @property
    def host(self) -> Host: ...
    def docker(self, *words: str) -> Completed: ...


class Wanted(Struct, frozen=True, kw_only=True):
    """A network that a stack on this host expects; ``key`` is its name in the compose file.

    ``described`` is its table of build.toml, if it has one.
    """

    host: str
    name: str
    key: str
    described: Network | None


def wanted(
    host: str, compose: Mapping[str, Any], networks: Mapping[str, Network]
) -> tuple[Wanted, ...]:
    """The networks that a rendered stack expects to be there."""
    return tuple(
        Wanted(
            host=host,
            name=str(network.get("name") or key),
            key=key,
            described=networks.get(key),
        )
        for key, network in (compose.get("networks") or {}).items()
        if network.get("external")
    )


class Networks(Struct, frozen=True, kw_only=True):
    """The networks on the hosts of a site; ``several``: stacks are spread over hosts."""

    engines: Mapping[str, Engine]
    swarm: Swarm
    several: bool
    dry_run: bool
    say: Callable[[str], None]

    def provide(self, asked: Iterable[Wanted]) -> dict[str, int]:
        """See that they are there as they are described; the MTU of each, by its key.

        Raises:
            DeployError: one of another description is, or it cannot be made.

        """
        mtus: dict[str, int] = {}
        done: set[tuple[str, str]] = set()
        asked = list(asked)
        self._check_swarms({each.host for each in asked if self._is_overlay(each)})
        for each in asked:
            place = self._place(each)
            if (place.engine.host.name, each.name) not in done:
                done.add((place.engine.host.name, each.name))
                mtu = self._provide(each, place)
                if mtu is not None:
                    mtus[each.key] = min(mtu, mtus.get(each.key, mtu))
        return mtus

    def _is_overlay(self, each: Wanted) -> bool:
        return each.described is not None and each.described.driver == "overlay"

    def _check_swarms(self, hosts: Iterable[str]) -> None:
        """Two overlays in two swarms are not one, though they have one name."""
        members = [self.swarm.member(name) for name in sorted(hosts)]
        managers = [self.swarm.manager_for(each) for each in members if each.is_in_swarm]
        if managers:
            manager_of(managers)

    def _place(self, each: Wanted) -> _Place:
        """On which engine it is looked for and made: an overlay belongs to the swarm's manager."""
        engine = self.engines[each.host]
        network = each.described
        if network is None or not self._is_overlay(each):
            return _Place(engine=engine, network=network)
        member = self.swarm.member(each.host)
        if not member.is_in_swarm:
            return _Place(engine=engine, network=self._instead(each, network))
        manager = self.swarm.manager_for(member)
        here = None if manager is member else _inspect(engine, each.name)
        # A worker knows an overlay only as long as one of its containers is in it.
        if here is not None and here.get("Driver") != "overlay":
            raise _another(each, engine, differences(here, network))
        return _Place(engine=self.engines[manager.host.name], network=network)

    def _instead(self, each: Wanted, network: Network) -> Network:
        """An overlay needs a swarm; one host alone does as well with a bridge."""
        if self.several:
            raise DeployError(
                f'host "{each.host}" is in no swarm, and the overlay {network.name} needs one',
                hint="`ocbuild deploy init`, then `ocbuild deploy join`",
            )
        return replace(network, driver="bridge")

    def _provide(self, each: Wanted, place: _Place) -> int | None:
        engine, network = place.engine, place.network
        there = _inspect(engine, each.name)
        if network is None:
            if there is None:
                raise DeployError(
                    f"the network {each.name} is missing {_on(engine)}, and build.toml does not "
                    "describe it",
                    hint="add a table such as: [deploy.networks.internal]",
                )
            return mtu_of(there)
        if there is not None:
            different = differences(there, network)
            if different:
                raise _another(each, engine, different)
            return mtu_of(there)
        if network is not each.described:
            self.say(
                f"network {network.name}: a bridge instead of an overlay, for there is no swarm"
            )
        if self.dry_run:
            self.say(f"network {each.name}: would be made ({network.driver})")
        else:
            made = engine.docker(*creation(each.name, network))
            if made.returncode != 0:
                complaint = made.complaint(lines=2)
                raise DeployError(f"cannot make the network {each.name} {_on(engine)}: {complaint}")
            self.say(f"network {each.name}: made ({network.driver})")
        return network.mtu or _MTU.get(network.driver)


class _Place(Struct, frozen=True, kw_only=True):
    engine: Engine
    network: Network | None


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


def differences(there: Mapping[str, Any], network: Network) -> list[str]:
    """What makes a network that is there another one than that of build.toml."""
    pools = there.get("IPAM", {}).get("Config") or [{}]
    options = there.get("Options") or {}
    wants_mtu = None if network.mtu is None else str(network.mtu)
    facts = (
        ("driver", there.get("Driver"), network.driver),
        ("parent", options.get("parent"), network.parent),
        ("mtu", options.get(MTU_OPTION), wants_mtu),
        ("subnet", pools[0].get("Subnet"), network.subnet),
        ("ip_range", pools[0].get("IPRange"), network.ip_range),
        ("gateway", pools[0].get("Gateway"), network.gateway),
    )
    found = [
        f"its {what} is {has or 'not set'}, not {wants}"
        for what, has, wants in facts
        if wants is not None and has != wants
    ]
    if there.get("Driver") == network.driver == "overlay" and not there.get("Attachable"):
        found.append("containers cannot be attached to it")
    return found


def mtu_of(there: Mapping[str, Any]) -> int | None:
    """The MTU of a network that is there; None where it is that of its parent."""
    text = str((there.get("Options") or {}).get(MTU_OPTION, ""))
    return int(text) if text.isdigit() else _MTU.get(str(there.get("Driver")))


def _another(each: Wanted, engine: Engine, different: Iterable[str]) -> DeployError:
    table = each.described.name if each.described is not None else each.key
    return DeployError(
        f"the network {each.name} {_on(engine)} is another one: {'; '.join(different)}",
        hint=f"change [deploy.networks.{table}], or `docker network rm {each.name}`",
    )


def _on(engine: Engine) -> str:
    return f'on host "{engine.host.name}"'


def _inspect(engine: Engine, name: str) -> Mapping[str, Any] | None:
    done = engine.docker("network", "inspect", name)
    if done.returncode != 0:
        return None
    found: Mapping[str, Any] = json.loads(done.text)[0]
    return found
