"""A network that is there has to be the one that build.toml describes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest

from builder.core.codec import MalformedError
from builder.core.deploy.networks import (
    MTU_OPTION,
    ExistingNetwork,
    ExpectedNetwork,
    creation,
    differences,
    existing_network,
    expected,
    provision,
    variables,
)
from builder.core.errors import DeployError
from builder.core.settings.sections import Host, Network
from builder.deploy.networks import Networks, Swarm
from builder.system.process import Completed

EXT = Network(
    name="ext",
    driver="macvlan",
    parent="eth0",
    subnet="10.1.0.0/24",
    ip_range="10.1.0.128/25",
    gateway="10.1.0.1",
)
THERE = {
    "Driver": "macvlan",
    "Options": {"parent": "eth0"},
    "IPAM": {
        "Config": [{"Subnet": "10.1.0.0/24", "IPRange": "10.1.0.128/25", "Gateway": "10.1.0.1"}]
    },
}


def existing(document: Mapping[str, Any]) -> ExistingNetwork:
    network = existing_network(json.dumps([document]))
    assert network is not None
    return network


def test_the_same_network_differs_in_nothing() -> None:
    assert differences(existing(THERE), EXT) == []


def test_each_difference_is_named_with_both_values() -> None:
    there = {
        "Driver": "bridge",
        "Options": None,
        "IPAM": {"Config": [{"Subnet": "10.2.0.0/24"}]},
    }
    assert differences(existing(there), EXT) == [
        "driver is bridge, not macvlan",
        "parent is not set, not eth0",
        "subnet is 10.2.0.0/24, not 10.1.0.0/24",
        "ip_range is not set, not 10.1.0.128/25",
        "gateway is not set, not 10.1.0.1",
    ]


def test_what_build_toml_leaves_open_may_be_anything() -> None:
    there = {**THERE, "Driver": "bridge"}
    assert differences(existing(there), Network(name="internal")) == []


def test_a_macvlan_is_made_with_all_that_is_said_of_it() -> None:
    assert creation("site-ext", EXT) == [
        *("network", "create", "--driver", "macvlan", "--opt", "parent=eth0"),
        *("--subnet", "10.1.0.0/24", "--ip-range", "10.1.0.128/25", "--gateway", "10.1.0.1"),
        "site-ext",
    ]


def test_containers_can_join_an_overlay() -> None:
    made = creation("internal", Network(name="internal", driver="overlay"))
    assert made == ["network", "create", "--driver", "overlay", "--attachable", "internal"]


def test_networks_of_a_stack_are_known_by_their_key_and_made_under_their_name() -> None:
    compose = {
        "networks": {
            "internal": {"name": "site-internal", "external": True},
            "other": {"name": "other", "external": True},
            "own": {"name": "cloud_own"},
        }
    }
    internal = Network(name="internal")
    assert expected("far", compose, {"internal": internal}) == (
        ExpectedNetwork(host="far", name="site-internal", key="internal", described=internal),
        ExpectedNetwork(host="far", name="other", key="other", described=None),
    )


def test_an_overlay_that_containers_cannot_join_is_another_one() -> None:
    there = {"Driver": "overlay", "Attachable": False}
    overlay = Network(name="internal", driver="overlay")
    assert differences(existing(there), overlay) == ["containers cannot be attached to it"]


@pytest.mark.parametrize(
    ("there", "mtu"),
    [
        ({"Driver": "overlay", "Options": None}, 1450),
        ({"Driver": "bridge", "Options": {}}, 1500),
        ({"Driver": "overlay", "Options": {MTU_OPTION: "1350"}}, 1350),
        # The kernel gives it the one of its parent, which may be on another machine.
        ({"Driver": "macvlan", "Options": {"parent": "eth0"}}, None),
    ],
)
def test_the_mtu_is_what_the_network_was_made_with(there: dict[str, Any], mtu: int | None) -> None:
    assert existing(there).mtu == mtu


def test_compose_files_are_told_the_mtu_by_the_name_that_they_have_for_the_network() -> None:
    assert variables({"internal": 1450, "my-net.2": 1400}) == {
        "MTU_INTERNAL": "1450",
        "MTU_MY_NET_2": "1400",
    }


class Docker:
    """An engine with networks, which can be looked at and made."""

    def __init__(self, name: str, networks: Mapping[str, Mapping[str, Any]]) -> None:
        self.host = Host(name=name)
        self.networks = {key: dict(value) for key, value in networks.items()}
        self.made: list[str] = []

    def docker(self, *words: str) -> Completed:
        if words[1] == "create":
            self.made.append(words[-1])
            return Completed(stdout=b"", stderr=b"", returncode=0)
        found = self.networks.get(words[-1])
        said = json.dumps([found]).encode() if found else b""
        return Completed(stdout=said, stderr=b"", returncode=0 if found else 1)


class Cluster:
    """Two hosts in one swarm, whose manager is the first; or in none."""

    def __init__(self, *, active: bool) -> None:
        self.apis: dict[str, Any] = {
            "controller": FakeApi("n1", active=active, manager=True),
            "node": FakeApi("n2", active=active),
        }

    def networks(self, engines: Mapping[str, Any], *, several: bool = True) -> Networks:
        apis = {name: (Host(name=name), api) for name, api in self.apis.items()}
        return Networks(
            engines=engines, swarm=Swarm(apis), several=several, dry_run=False, say=lambda _: None
        )


class FakeApi:
    def __init__(self, node: str, *, active: bool, manager: bool = False) -> None:
        self._swarm = {
            "LocalNodeState": "active" if active else "inactive",
            "NodeID": node if active else "",
            "ControlAvailable": manager and active,
        }

    def get(self, path: str, doing: str) -> Any:
        assert doing
        return {"Swarm": self._swarm} if path == "/info" else [{"ID": "n1"}, {"ID": "n2"}]

    def post(self, path: str, doing: str, body: Mapping[str, Any]) -> Any:
        raise AssertionError((path, doing, body))


OVERLAY = Network(name="internal", driver="overlay")


def asked(host: str) -> ExpectedNetwork:
    return ExpectedNetwork(host=host, name="cloud-internal", key="internal", described=OVERLAY)


def test_the_overlay_of_a_worker_is_made_once_by_the_manager() -> None:
    engines = {name: Docker(name, {}) for name in ("controller", "node")}
    networks = Cluster(active=True).networks(engines)
    assert networks.provide([asked("node"), asked("controller")]) == {"internal": 1450}
    assert engines["controller"].made == ["cloud-internal"]
    assert engines["node"].made == []


def test_a_workers_own_network_of_that_name_is_in_the_way() -> None:
    engines = {
        "controller": Docker("controller", {}),
        "node": Docker("node", {"cloud-internal": {"Driver": "bridge"}}),
    }
    with pytest.raises(
        DeployError, match=r'on host "node" exists with other settings: driver is bridge'
    ):
        Cluster(active=True).networks(engines).provide([asked("node")])
    assert engines["controller"].made == []


def test_stacks_on_several_hosts_need_a_swarm() -> None:
    engines = {name: Docker(name, {}) for name in ("controller", "node")}
    with pytest.raises(DeployError, match="is in no swarm") as caught:
        Cluster(active=False).networks(engines).provide([asked("controller")])
    assert "ocbuild deploy init" in str(caught.value.hint)


def test_one_host_without_a_swarm_has_a_bridge_and_its_mtu() -> None:
    engines = {"controller": Docker("controller", {})}
    networks = Cluster(active=False).networks(engines, several=False)
    assert networks.provide([asked("controller")]) == {"internal": 1500}
    assert engines["controller"].made == ["cloud-internal"]


@pytest.mark.parametrize("answer", ["{}", "[1]", '[{"Driver": 1}]', "", '[{"Options": []}]'])
def test_an_odd_answer_is_one_error(answer: str) -> None:
    with pytest.raises(MalformedError, match="what docker says of a network"):
        existing_network(answer)


BRIDGE = Network(name="internal", mtu=1400)


@pytest.mark.parametrize(
    ("network", "document", "mtu", "words", "note"),
    [
        (BRIDGE, None, 1400, True, False),
        (OVERLAY, None, 1450, True, False),
        # Not as it is described: there is no swarm.
        (Network(name="internal", driver="bridge", subnet="10.0.0.0/8"), None, 1500, True, True),
        (BRIDGE, {"Driver": "bridge", "Options": {MTU_OPTION: "1400"}}, 1400, False, False),
        (None, {"Driver": "bridge"}, 1500, False, False),
        (EXT, None, None, True, False),
    ],
)
def test_a_network_is_made_where_it_is_missing(
    network: Network | None,
    document: dict[str, Any] | None,
    mtu: int | None,
    *,
    words: bool,
    note: bool,
) -> None:
    described = OVERLAY if note else network
    network_asked = ExpectedNetwork(host="h", name="n", key="k", described=described)
    there = None if document is None else existing(document)
    needed = provision(network_asked, network, there, "h")
    assert (needed.mtu, bool(needed.words), bool(needed.note)) == (mtu, words, note)


def test_a_network_that_nobody_describes_has_to_exist() -> None:
    unknown = ExpectedNetwork(host="h", name="n", key="k", described=None)
    with pytest.raises(DeployError, match="n is missing on host"):
        provision(unknown, None, None, "h")


def test_an_mtu_that_differs_is_named() -> None:
    known = ExpectedNetwork(host="h", name="n", key="k", described=BRIDGE)
    with pytest.raises(DeployError, match="exists with other settings: mtu is not set, not 1400"):
        provision(known, BRIDGE, existing({"Driver": "bridge"}), "h")
