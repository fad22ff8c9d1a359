"""The ``[deploy]`` section of build.toml, as values: hosts, networks, stacks."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Literal

from msgspec import Struct, field
from msgspec.structs import replace

from builder.config.forms import (
    Address,
    DockerHost,
    HostAddress,
    HostName,
    Mtu,
    NetworkName,
    StackName,
    Subnet,
)
from builder.config.schema import TableName
from builder.config.toml_values import Place
from builder.core.errors import did_you_mean


class Host(Struct, frozen=True, kw_only=True):
    """``[deploy.hosts.NAME]``; ``docker`` is "local", a docker context or an address.

    ``address`` is where the other hosts of a swarm reach it, ``data_address`` the same for the
    traffic of overlays; each an address or an interface, None for what its engine finds.
    """

    name: Annotated[str, TableName()]
    docker: DockerHost = "local"
    address: HostAddress | None = None
    data_address: HostAddress | None = None


class Network(Struct, frozen=True, kw_only=True):
    """``[deploy.networks.NAME]``; only a macvlan has a parent interface."""

    name: Annotated[str, TableName()]
    driver: Literal["bridge", "overlay", "macvlan"] = "bridge"
    parent: str | None = None
    subnet: Subnet | None = None
    ip_range: Subnet | None = None
    gateway: Address | None = None
    mtu: Mtu | None = None

    def check(self, place: Place) -> None:
        if (self.driver == "macvlan") != (self.parent is not None):
            fact = "needs a parent" if self.parent is None else "can have no parent"
            place.at("parent").fault(
                f"the {self.driver} network {self.name} {fact}",
                'a macvlan network, and no other, has a line such as: parent = "eth0"',
            )
        inside = {"ip_range": self.ip_range, "gateway": self.gateway}
        for key, text in inside.items():
            if text is None:
                continue
            if self.subnet is None:
                place.at(key).fault(
                    f"the network {self.name} has the {key} {text}, but no subnet",
                    'add a line such as: subnet = "10.0.0.0/24"',
                )
            elif not _lies_in(text, self.subnet):
                place.at(key).fault(
                    f"the {key} {text} of network {self.name} is not in its subnet {self.subnet}",
                    "make the one a part of the other",
                )


def _lies_in(text: str, subnet: str) -> bool:
    inner, outer = ipaddress.ip_network(text), ipaddress.ip_network(subnet)
    return inner.network_address in outer and inner.broadcast_address in outer


class Stack(Struct, frozen=True, kw_only=True):
    """``[deploy.stacks.NAME]``; once loaded, ``host`` is the name of one of the hosts."""

    name: Annotated[str, TableName()]
    file: Path
    host: str = ""
    needs: tuple[StackName, ...] = ()

    def check(self, place: Place) -> None:
        if not self.file.is_file():
            place.at("file").fault(
                f'the compose file "{place.shown(self.file)}" of stack {self.name} does not exist',
                "its path starts at the folder of build.toml",
            )


class DeploySettings(Struct, frozen=True, kw_only=True):
    """``[deploy]``; without any host there is one, "local"."""

    hosts: Mapping[HostName, Host] = field(default_factory=dict)
    networks: Mapping[NetworkName, Network] = field(default_factory=dict)
    stacks: Mapping[StackName, Stack] = field(default_factory=dict)

    def check(self, place: Place) -> None:
        for name, stack in self.stacks.items():
            here = place.at("stacks", name)
            self._check_host(stack, here)
            for index, needed in enumerate(stack.needs):
                if needed == name or needed not in self.stacks:
                    fact = "itself" if needed == name else f'the stack "{needed}", which is unknown'
                    others = self.stacks.keys() - {name}
                    here.at("needs", index).fault(
                        f"the stack {name} needs {fact}",
                        did_you_mean(needed, others) or _choose_from("stacks", others),
                    )

    def _check_host(self, stack: Stack, here: Place) -> None:
        hosts = self.hosts or {"local"}
        if stack.host and stack.host not in hosts:
            here.at("host").fault(
                f'the stack {stack.name} is for the host "{stack.host}", which is unknown',
                did_you_mean(stack.host, hosts) or _choose_from("hosts", hosts),
            )
        elif not stack.host and len(hosts) > 1:
            here.fault(
                f"the stack {stack.name} has no host, and there are several",
                _choose_from("hosts", hosts),
            )

    def resolved(self) -> DeploySettings:
        """The same with the defaults that depend on other keys filled in."""
        hosts = self.hosts or {"local": Host(name="local")}
        only = next(iter(hosts))
        stacks = {
            name: replace(stack, host=stack.host or only) for name, stack in self.stacks.items()
        }
        return replace(self, hosts=hosts, stacks=stacks)


def _choose_from(what: str, names: Iterable[str]) -> str:
    listed = ", ".join(f'"{name}"' for name in sorted(names))
    return f"the {what} are {listed}" if listed else f"there are no other {what}"
