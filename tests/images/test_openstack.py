"""OpenStack from its published images: a token, and a whole cloud that boots a guest."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.images.conftest import References
from tests.support.cloud import Cloud, Identity
from tests.support.containers import Containers
from tests.support.engines import soon

pytestmark = pytest.mark.images

# A boot sector that writes "ok" to the first serial port for ever, and a disk to hold it.
# mov dx,0x3f8; l: mov al,'o'; out dx,al; mov al,'k'; out dx,al; mov al,10; out dx,al; jmp l
GUEST = bytes.fromhex("baf803b06feeb06beeb00aeeebf5").ljust(510, b"\0") + b"\x55\xaa"


def test_keystone_gives_a_token(containers: Containers) -> None:
    identity = Identity(containers)
    identity.mariadb.wait_healthy()
    identity.start_keystone().wait_healthy()
    token = identity.show("token", "issue")
    assert len(token["id"]) > 100


@pytest.fixture(scope="module")
def cloud(references: References) -> Iterator[Cloud]:
    made = Containers(references)
    try:
        yield Cloud(made)
    finally:
        made.close()


def test_every_service_of_the_cloud_is_healthy(cloud: Cloud) -> None:
    assert set(cloud.services) >= {"keystone", "nova-compute", "neutron-openvswitch-agent"}
    agents = cloud.show("network", "agent", "list")
    assert {agent["Binary"] for agent in agents} == {
        "neutron-openvswitch-agent",
        "neutron-dhcp-agent",
        "neutron-metadata-agent",
    }
    assert all(agent["Alive"] for agent in agents)


def test_a_server_boots_and_its_console_can_be_read(cloud: Cloud) -> None:
    cloud.client.run("sh", "-c", "printf %b \"$1\" > /tmp/guest.img; truncate -s 1M /tmp/guest.img",
                     "sh", "".join(f"\\0{byte:03o}" for byte in GUEST))  # fmt: skip
    cloud.openstack(
        "image",
        "create",
        "--file",
        "/tmp/guest.img",
        "--disk-format",
        "raw",
        "guest",  # noqa: S108
    )
    cloud.openstack("flavor", "create", "--ram", "64", "--disk", "1", "--vcpus", "1", "small")
    cloud.openstack("network", "create", "net")
    cloud.openstack(
        "subnet", "create", "--network", "net", "--subnet-range", "10.9.0.0/24", "--gateway",
        "none", "subnet",
    )  # fmt: skip
    cloud.openstack(
        "server", "create", "--image", "guest", "--flavor", "small", "--network", "net",
        "--wait", "server",
    )  # fmt: skip
    assert cloud.show("server", "show", "server")["status"] == "ACTIVE"
    assert soon(lambda: "ok" in cloud.openstack("console", "log", "show", "server"), within=60)


def test_a_volume_is_made(cloud: Cloud) -> None:
    cloud.openstack("volume", "create", "--size", "1", "volume")
    assert soon(lambda: cloud.show("volume", "show", "volume")["status"] == "available", within=60)


def test_the_dashboard_shows_its_login(cloud: Cloud) -> None:
    page = cloud.services["horizon"].run("curl", "-fsS", "http://127.0.0.1:8080/auth/login/")
    assert "password" in page
