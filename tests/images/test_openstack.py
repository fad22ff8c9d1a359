"""OpenStack's processes from their published images: what they need, how they end, a token."""

from __future__ import annotations

import pytest

from tests.support.containers import Containers
from tests.support.identity import SECRETS, Identity

pytestmark = pytest.mark.images
# Each with the variable that it misses first.
SERVICES = {
    "cinder-api": "SERVICE_PASSWORD",
    "cinder-scheduler": "SERVICE_PASSWORD",
    "cinder-volume": "SERVICE_PASSWORD",
    "glance-api": "SERVICE_PASSWORD",
    "horizon": "HORIZON_SECRET_KEY",
    "keystone": "DATABASE_PASSWORD",
    "neutron-dhcp-agent": "RABBIT_PASSWORD",
    "neutron-metadata-agent": "METADATA_SECRET",
    "neutron-openvswitch-agent": "RABBIT_PASSWORD",
    "neutron-server": "SERVICE_PASSWORD",
    "nova-api": "DATABASE_PASSWORD",
    "nova-compute": "SERVICE_PASSWORD",
    "nova-conductor": "DATABASE_PASSWORD",
    "nova-metadata": "DATABASE_PASSWORD",
    "nova-novncproxy": "DATABASE_PASSWORD",
    "nova-scheduler": "DATABASE_PASSWORD",
    "placement": "SERVICE_PASSWORD",
}
ENV = {**SECRETS, "HORIZON_SECRET_KEY": "cookies", "MEMCACHED_SERVERS": "memcached:11211"}


@pytest.mark.parametrize(("image", "variable"), SERVICES.items())
def test_what_is_missing_is_named_in_one_line(
    containers: Containers, image: str, variable: str
) -> None:
    service = containers.start(image)
    assert service.exit_code() == 64
    assert service.logs().strip() == (
        f"{image}: variable {variable} (or {variable}_FILE) is required, but not set"
    )


def test_the_console_proxy_serves_alone_and_ends_when_it_is_told_to(
    containers: Containers,
) -> None:
    proxy = containers.start("nova-novncproxy", env=ENV)
    proxy.wait_healthy()
    assert proxy.stop() == 0, proxy.logs()


def test_the_dashboard_shows_its_login_page_with_memcached_beside_it(
    containers: Containers,
) -> None:
    containers.start("memcached")
    horizon = containers.start("horizon", env=ENV)
    horizon.wait_healthy(within=60)
    assert "password" in horizon.run("curl", "-fsSL", "http://127.0.0.1:8080/auth/login/")
    assert horizon.stop() == 0, horizon.logs()


def test_keystone_gives_a_token(containers: Containers) -> None:
    identity = Identity(containers)
    identity.mariadb.wait_healthy()
    keystone = identity.start_keystone()
    keystone.wait_healthy()
    assert len(identity.show("token", "issue")["id"]) > 100
    assert keystone.stop() == 0
