"""What makes or joins a swarm follows from what the engines say; odd answers are one error."""

from __future__ import annotations

import pytest

from builder.core.deploy.swarm import (
    already_joined,
    init_error,
    init_request,
    join_body,
    join_error,
    node_state,
    node_states,
    worker_token,
)
from builder.core.errors import DeployError
from builder.core.settings.sections import Host

HOST = Host(name="node", address="10.0.0.2")
WORKER = {"LocalNodeState": "active", "NodeID": "n2", "Cluster": None, "Error": ""}
MANAGER = {
    **WORKER,
    "NodeID": "n1",
    "ControlAvailable": True,
    "Cluster": {"ID": "c"},
    "RemoteManagers": [{"NodeID": "n1", "Addr": "10.0.0.1:2377"}],
}


@pytest.mark.parametrize(
    ("info", "facts"),
    [
        ({}, ("inactive", "", False, "", ())),
        ({"Swarm": None}, ("inactive", "", False, "", ())),
        ({"Swarm": {"LocalNodeState": "", "NodeID": ""}}, ("inactive", "", False, "", ())),
        ({"Swarm": WORKER}, ("active", "n2", False, "", ())),
        ({"Swarm": MANAGER}, ("active", "n1", True, "c", ("10.0.0.1:2377",))),
    ],
)
def test_a_host_is_what_its_engine_says(info: object, facts: tuple[object, ...]) -> None:
    node = node_state(HOST, info)
    assert (node.state, node.node, node.is_manager, node.cluster, node.managers) == facts


@pytest.mark.parametrize(
    ("info", "said"),
    [
        ({"Swarm": {"LocalNodeState": "locked"}}, "is locked: it waits for a manager"),
        ({"Swarm": {"LocalNodeState": "error", "Error": "no"}}, "is error: no"),
        ({"Swarm": []}, 'host "node": what it says of its swarm has another shape'),
        ([], "another shape"),
    ],
)
def test_a_host_that_is_half_in_a_swarm_is_an_error(info: object, said: str) -> None:
    with pytest.raises(DeployError, match=said):
        node_state(HOST, info)


def test_odd_answers_are_errors_without_a_token_in_them() -> None:
    assert node_states([{"ID": "a", "Status": {"State": "ready"}}, {"ID": "b"}]) == {
        "a": "ready",
        "b": "",
    }
    with pytest.raises(DeployError, match="nodes has another shape"):
        node_states({"message": "x"})
    assert worker_token({"JoinTokens": {"Worker": "t"}}) == "t"
    with pytest.raises(DeployError) as caught:
        worker_token({"JoinTokens": {"Manager": "SECRET"}})
    assert "SECRET" not in str(caught.value)


def test_a_swarm_is_made_only_by_a_host_that_is_in_none() -> None:
    nobody, worker, manager = (
        node_state(HOST, {"Swarm": swarm}) for swarm in (None, WORKER, MANAGER)
    )
    asked = init_request(nobody, address="a", data_address=None, dry_run=False)
    assert asked.body == {"ListenAddr": "0.0.0.0:2377", "AdvertiseAddr": "a"}
    assert init_request(nobody, address=None, data_address=None, dry_run=True).body is None
    assert not init_request(manager, address=None, data_address=None, dry_run=False).is_change
    with pytest.raises(DeployError, match="is a worker in a swarm"):
        init_request(worker, address=None, data_address=None, dry_run=False)


def test_a_worker_joins_one_swarm() -> None:
    worker, manager = (node_state(HOST, {"Swarm": swarm}) for swarm in (WORKER, MANAGER))
    assert "already" in already_joined(manager, worker, {"n2": "ready"})
    with pytest.raises(DeployError, match="is in another swarm"):
        already_joined(manager, worker, {"n3": "ready"})
    body = join_body(manager, worker, "t")
    assert body["RemoteAddrs"] == ["10.0.0.1:2377"]
    assert body["AdvertiseAddr"] == "10.0.0.2"
    assert "DataPathAddr" not in body


def test_the_errors_of_engines_get_advice_and_lose_the_token() -> None:
    node = node_state(HOST, {"Swarm": MANAGER})
    said = DeployError("cannot choose an address to advertise")
    assert "--advertise-addr" in str(init_error(node, said, address=None).hint)
    assert init_error(node, said, address="a") is said
    error = join_error(node, node, DeployError("no route for SECRET"), "SECRET")
    assert error.message == "no route for …"
    assert "can node reach 10.0.0.1:2377?" in str(error.hint)
