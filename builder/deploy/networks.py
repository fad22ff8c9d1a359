"""The networks that stacks join: made where they are missing, compared where they are there."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from builder.deploy.compose import Engine
from builder.errors import DeployError
from builder.settings_deploy import Network


def wanted(
    compose: Mapping[str, Any], networks: Mapping[str, Network]
) -> dict[str, Network | None]:
    """The networks, by their name on the engine, that a rendered stack expects to be there."""
    found: dict[str, Network | None] = {}
    for key, network in (compose.get("networks") or {}).items():
        if network.get("external"):
            found[str(network.get("name") or key)] = networks.get(key)
    return found


def provide(
    engine: Engine,
    name: str,
    network: Network | None,
    *,
    hosts: int,
    dry_run: bool,
    say: Callable[[str], None],
) -> None:
    """Make sure that a network of this name and description is there.

    Raises:
        DeployError: one of another description is, or it cannot be made.

    """
    where = f'on host "{engine.host.name}"'
    there = _inspect(engine, name)
    if network is None:
        if there is None:
            raise DeployError(
                f"the network {name} is missing {where}, and build.toml does not describe it",
                hint="add a table such as: [deploy.networks.internal]",
            )
        return
    network = _possible(engine, network, hosts=hosts, say=say, quiet=there is not None)
    if there is not None:
        different = differences(there, network)
        if different:
            raise DeployError(
                f"the network {name} {where} is another one: {'; '.join(different)}",
                hint=f"change [deploy.networks.{network.name}], or `docker network rm {name}`",
            )
        return
    if dry_run:
        say(f"network {name}: would be made ({network.driver})")
        return
    made = engine.docker(*creation(name, network))
    if made.returncode != 0:
        raise DeployError(f"cannot make the network {name} {where}: {made.complaint(lines=2)}")
    say(f"network {name}: made ({network.driver})")


def _possible(
    engine: Engine, network: Network, *, hosts: int, say: Callable[[str], None], quiet: bool
) -> Network:
    """An overlay needs a swarm; one host alone does as well with a bridge."""
    if network.driver != "overlay":
        return network
    state = engine.docker("info", "--format", "{{.Swarm.LocalNodeState}}")
    if state.text.strip() == "active":
        return network
    if hosts > 1:
        raise DeployError(
            f'host "{engine.host.name}" is in no swarm, and the overlay {network.name} needs one',
            hint="`docker swarm init` on one host, and on the others the join that it prints",
        )
    if not quiet:
        say(f"network {network.name}: a bridge instead of an overlay, for there is no swarm")
    return replace(network, driver="bridge")


def creation(name: str, network: Network) -> list[str]:
    """The words for docker that make it."""
    words = ["network", "create", "--driver", network.driver]
    if network.driver == "overlay":
        words.append("--attachable")
    if network.parent is not None:
        words += ["--opt", f"parent={network.parent}"]
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
    facts = (
        ("driver", there.get("Driver"), network.driver),
        ("parent", options.get("parent"), network.parent),
        ("subnet", pools[0].get("Subnet"), network.subnet),
        ("ip_range", pools[0].get("IPRange"), network.ip_range),
        ("gateway", pools[0].get("Gateway"), network.gateway),
    )
    return [
        f"its {what} is {has or 'not set'}, not {wants}"
        for what, has, wants in facts
        if wants is not None and has != wants
    ]


def _inspect(engine: Engine, name: str) -> Mapping[str, Any] | None:
    done = engine.docker("network", "inspect", name)
    if done.returncode != 0:
        return None
    found: Mapping[str, Any] = json.loads(done.text)[0]
    return found
