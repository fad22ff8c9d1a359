"""Agents of compute hosts are well only if what they work on is there, too."""

from __future__ import annotations

import pytest

from tests.support.containers import Container, Containers
from tests.support.engines import soon

pytestmark = pytest.mark.images

# Stands in for an agent: holds a connection to the broker, as check-amqp wants it.
BROKER = """\
import socket, time
server = socket.create_server(("127.0.0.1", 5672))
kept = socket.create_connection(("127.0.0.1", 5672))
time.sleep(10000)
"""
DATABASE = BROKER.replace("5672", "6640")
# An OpenFlow controller that can say hello and answer an echo, which is all that a switch asks for.
CONTROLLER = """\
import socket, threading
def serve(peer):
    peer.sendall(bytes((4, 0, 0, 8, 0, 0, 0, 1)))
    while head := peer.recv(8, socket.MSG_WAITALL):
        body = peer.recv(int.from_bytes(head[2:4], "big") - 8, socket.MSG_WAITALL)
        if head[1] == 2:
            peer.sendall(bytes((4, 3)) + head[2:] + body)
server = socket.create_server(("127.0.0.1", 6633))
while True:
    threading.Thread(target=serve, args=server.accept()[:1], daemon=True).start()
"""


def stand_in(containers: Containers, image: str, *options: str) -> Container:
    """The image with its own check, but without its agent."""
    return containers.start(image, "-c", BROKER, options=("--entrypoint=python3", *options))


def finding(container: Container, check: str) -> tuple[bool, str]:
    """Whether the check finds it well, and what it says."""
    done = container.attempt(check)
    return done.returncode == 0, (done.stdout + done.stderr).strip()


def test_the_agent_of_the_switch_is_well_with_bridges_that_it_controls(
    containers: Containers,
) -> None:
    database = containers.start("openvswitch-db", options=("--volume=/run/openvswitch",))
    database.wait_healthy()
    inside = f"--network=container:{database.id}"
    switch = containers.start(
        "openvswitch", options=(inside, f"--volumes-from={database.id}", "--privileged")
    )
    switch.wait_healthy()
    agent = stand_in(containers, "neutron-openvswitch-agent", inside)

    def told() -> str:
        well, said = finding(agent, "check-ovs-agent")
        return "well" if well else said

    def vsctl(*words: str) -> str:
        return agent.run("ovs-vsctl", "--db=tcp:127.0.0.1:6640", *words)

    assert soon(lambda: told() == "there is no bridge br-int", within=30), told()
    for bridge in ("br-int", "br-tun"):
        vsctl("add-br", bridge, "--", "set", "bridge", bridge, "datapath_type=netdev")
    assert told() == "br-int takes its flows from nobody"
    for bridge in ("br-int", "br-tun"):
        vsctl("set-controller", bridge, "tcp:127.0.0.1:6633")
        vsctl("set", "controller", bridge, "max_backoff=1000")
    assert "takes its flows from nobody" in told()
    controller = containers.start(
        "neutron-openvswitch-agent",
        "-c",
        CONTROLLER,
        name="controller",
        options=(inside, "--entrypoint=python3"),
    )
    assert soon(lambda: told() == "well", within=60), told()
    controller.signal("KILL")
    assert soon(lambda: "takes its flows from nobody" in told(), within=60), told()
    database.signal("STOP")
    assert not finding(agent, "check-ovs-agent")[0]
    database.signal("CONT")


def test_the_agent_of_dhcp_is_well_while_its_servers_live(containers: Containers) -> None:
    agent = stand_in(containers, "neutron-dhcp-agent")

    def told() -> str:
        well, said = finding(agent, "check-dhcp-agent")
        return "well" if well else said

    assert soon(lambda: told() == "no connection to the switch's database", within=30), told()
    agent.run("sh", "-c", f"python3 -c '{DATABASE}' > /dev/null 2>&1 &")
    assert soon(lambda: told() == "well", within=30), told()
    folder = "/var/lib/neutron/dhcp/net-1"
    agent.run("mkdir", "-p", folder)
    agent.run("dnsmasq", "--conf-file=/dev/null", "--port=0", f"--pid-file={folder}/pid")
    assert told() == "well"
    agent.run("sh", "-c", f"kill -KILL $(cat {folder}/pid)")
    gone = f"the dnsmasq of {folder} is gone"
    assert soon(lambda: told() == gone, within=30), told()


def test_the_agent_of_metadata_is_well_while_it_answers(containers: Containers) -> None:
    agent = stand_in(containers, "neutron-metadata-agent")
    assert soon(lambda: finding(agent, "check-amqp")[0], within=30)
    well, said = finding(agent, "check-metadata-agent")
    assert not well
    assert "curl" in said


def test_nova_compute_is_well_while_libvirt_answers(containers: Containers) -> None:
    libvirt = containers.start(
        "libvirt", options=("--privileged", "--volume=/run/libvirt", "--volume=/var/lib/libvirt")
    )
    libvirt.wait_healthy()
    compute = stand_in(containers, "nova-compute", f"--volumes-from={libvirt.id}")
    assert soon(lambda: finding(compute, "check-compute")[0], within=30), finding(
        compute, "check-compute"
    )
    libvirt.stop()
    assert not finding(compute, "check-compute")[0]
    assert finding(compute, "check-amqp")[0]
