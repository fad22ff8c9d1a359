"""A swarm is made once, joined once, and never across another one; its token is told to nobody."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest

from builder.core.deploy.swarm import manager_of
from builder.core.errors import DeployError
from builder.core.settings.sections import Host
from builder.deploy.networks import Swarm, SwarmMember, init, join

TOKEN = "SWMTKN-1-secret"


class Cluster:
    """One swarm as its engines tell of it."""

    def __init__(self, name: str = "one") -> None:
        self.name = name
        self.nodes: dict[str, str] = {}


class Engine:
    """An engine that can be in a cluster; ``refuses`` is what it says instead of joining."""

    def __init__(self, host: Host, cluster: Cluster, refuses: str = "") -> None:
        self.host = host
        self.cluster = cluster
        self.swarm: dict[str, Any] = {"LocalNodeState": "inactive"}
        self.posted: list[tuple[str, Mapping[str, Any]]] = []
        self._refuses = refuses

    def get(self, path: str, doing: str) -> Any:
        assert doing
        if path == "/info":
            return {"Swarm": self.swarm}
        assert self.swarm["ControlAvailable"], "only a manager knows"
        if path == "/nodes":
            items = self.cluster.nodes.items()
            return [{"ID": node, "Status": {"State": state}} for node, state in items]
        return {"JoinTokens": {"Worker": TOKEN}}

    def post(self, path: str, doing: str, body: Mapping[str, Any]) -> Any:
        self.posted.append((path, body))
        if self._refuses:
            raise DeployError(f"cannot {doing}: {self._refuses}")
        node = f"node-{self.host.name}"
        self.cluster.nodes[node] = "ready"
        self.swarm = {
            "LocalNodeState": "active",
            "NodeID": node,
            "ControlAvailable": path == "/swarm/init",
            "Cluster": {"ID": self.cluster.name} if path == "/swarm/init" else None,
            "RemoteManagers": [{"Addr": "10.0.0.1:2377"}],
        }

    @property
    def member(self) -> SwarmMember:
        return SwarmMember.look(self.host, self)


def engine(name: str, cluster: Cluster, refuses: str = "", **more: str) -> Engine:
    return Engine(Host(name=name, **more), cluster, refuses)


def manager(cluster: Cluster, name: str = "controller") -> Engine:
    made = engine(name, cluster)
    init(made.member, address=None, data_address=None, dry_run=False)
    return made


def at_once(condition: Callable[[], bool]) -> bool:
    return condition()


def test_a_swarm_is_made_once_with_the_addresses_of_the_host() -> None:
    first = engine("controller", Cluster())
    said, changed = init(first.member, address="10.0.0.1", data_address="eth1", dry_run=False)
    assert (said, changed) == ("manages a new swarm, at 10.0.0.1:2377", True)
    assert first.posted[0][1]["AdvertiseAddr"] == "10.0.0.1"
    assert first.posted[0][1]["DataPathAddr"] == "eth1"
    said, changed = init(first.member, address=None, data_address=None, dry_run=False)
    assert (said, changed) == ("manages a swarm already, at 10.0.0.1:2377", False)
    assert len(first.posted) == 1


def test_a_host_with_many_addresses_is_told_how_to_choose() -> None:
    said = "could not choose an IP address to advertise since this system has multiple addresses"
    first = engine("controller", Cluster(), said)
    with pytest.raises(DeployError) as caught:
        init(first.member, address=None, data_address=None, dry_run=False)
    assert "[deploy.hosts.controller]" in str(caught.value.hint)


def test_a_host_joins_once_with_its_own_address_and_the_token_is_not_told() -> None:
    cluster = Cluster()
    first, second = manager(cluster), engine("node", cluster, address="10.0.0.2")
    said, changed = join(first.member, second.member, dry_run=False, settle=at_once)
    assert (said, changed) == ("joined the swarm of controller", True)
    (path, body) = second.posted[0]
    assert path == "/swarm/join"
    assert body["JoinToken"] == TOKEN
    assert body["AdvertiseAddr"] == "10.0.0.2"
    assert body["RemoteAddrs"] == ["10.0.0.1:2377"]
    said, changed = join(first.member, second.member, dry_run=False, settle=at_once)
    assert (said, changed) == ("is in the swarm of controller already", False)


def test_a_host_that_cannot_join_says_why_without_the_token() -> None:
    cluster = Cluster()
    second = engine("node", cluster, f"no route to host for {TOKEN}")
    with pytest.raises(DeployError) as caught:
        join(manager(cluster).member, second.member, dry_run=False, settle=at_once)
    assert "no route to host" in str(caught.value)
    assert TOKEN not in str(caught.value)
    assert "4789/udp" in str(caught.value.hint)


def test_a_host_of_another_swarm_is_left_alone() -> None:
    here, elsewhere = Cluster("here"), Cluster("elsewhere")
    second = engine("node", elsewhere)
    join(manager(elsewhere, "other").member, second.member, dry_run=False, settle=at_once)
    with pytest.raises(DeployError, match='"node" is in another swarm than "controller"'):
        join(manager(here).member, second.member, dry_run=False, settle=at_once)
    with pytest.raises(DeployError, match='"node" is a worker in a swarm'):
        init(second.member, address=None, data_address=None, dry_run=False)


def test_a_dry_run_changes_nothing() -> None:
    cluster = Cluster()
    first, second = engine("controller", cluster), engine("node", cluster)
    assert init(first.member, address=None, data_address=None, dry_run=True)[1]
    assert join(manager(cluster).member, second.member, dry_run=True, settle=at_once)[1]
    assert first.posted == second.posted == []


def test_a_host_that_is_never_seen_as_ready_has_not_joined() -> None:
    cluster = Cluster()
    with pytest.raises(DeployError, match="does not see it as ready"):
        join(
            manager(cluster).member,
            engine("node", cluster).member,
            dry_run=False,
            settle=lambda _: False,
        )


def test_there_is_one_manager_to_join() -> None:
    cluster = Cluster()
    lonely = [engine("a", cluster).member, engine("b", cluster).member]
    with pytest.raises(DeployError, match=r"no host manages a swarm \(asked: a, b\)"):
        manager_of(lonely)
    two = [manager(Cluster("x"), "a").member, manager(Cluster("y"), "b").member]
    with pytest.raises(DeployError, match='"a" and "b" manage two different swarms'):
        manager_of(two)
    first = manager(cluster).member
    assert manager_of([*lonely, first]) is first


def test_a_swarm_that_is_locked_is_not_taken_for_none() -> None:
    locked = engine("node", Cluster())
    locked.swarm = {"LocalNodeState": "locked", "Error": "Swarm is encrypted"}
    with pytest.raises(DeployError, match='host "node" is locked: Swarm is encrypted'):
        _ = locked.member


def test_the_manager_of_a_worker_is_looked_for_among_all_hosts() -> None:
    cluster = Cluster()
    first, second = manager(cluster), engine("node", cluster)
    join(first.member, second.member, dry_run=False, settle=at_once)
    stranger = manager(Cluster("elsewhere"), "stranger")
    engines = {one.host.name: (one.host, one) for one in (stranger, first, second)}
    swarm = Swarm(engines)
    assert swarm.manager_for(swarm.member("node")).host.name == "controller"
    del engines["controller"]
    alone = Swarm(engines)
    with pytest.raises(DeployError, match=r"no host of build\.toml manages the swarm"):
        alone.manager_for(alone.member("node"))
