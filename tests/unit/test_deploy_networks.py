"""A network that is there has to be the one that build.toml describes."""

from __future__ import annotations

from builder.deploy.networks import creation, differences, wanted
from builder.settings_deploy import Network

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


def test_the_same_network_differs_in_nothing() -> None:
    assert differences(THERE, EXT) == []


def test_each_difference_is_named_with_both_values() -> None:
    there = {
        "Driver": "bridge",
        "Options": None,
        "IPAM": {"Config": [{"Subnet": "10.2.0.0/24"}]},
    }
    assert differences(there, EXT) == [
        "its driver is bridge, not macvlan",
        "its parent is not set, not eth0",
        "its subnet is 10.2.0.0/24, not 10.1.0.0/24",
        "its ip_range is not set, not 10.1.0.128/25",
        "its gateway is not set, not 10.1.0.1",
    ]


def test_what_build_toml_leaves_open_may_be_anything() -> None:
    there = {**THERE, "Driver": "bridge"}
    assert differences(there, Network(name="internal")) == []


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
    assert wanted(compose, {"internal": internal}) == {"site-internal": internal, "other": None}
