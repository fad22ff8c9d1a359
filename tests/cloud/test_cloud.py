"""From an empty engine and a published release to a cloud that boots guests, and on from there.

These tests are one story, told in order: each leaves the cloud as the next one wants it.
"""

from __future__ import annotations

import re
import sys
import time
import urllib.request
from pathlib import Path

import pytest

from tests.cloud.client import Client
from tests.cloud.site import Site
from tests.support.engines import docker, soon

pytestmark = pytest.mark.cloud
STACKS = 13


def test_nothing_is_started_if_an_image_is_not_in_the_release(site: Site) -> None:
    file = site.folder / "deploy" / "horizon.yml"
    text = file.read_text()
    file.write_text(text.replace("/horizon:", "/horizont:"))
    try:
        done = site("deploy", "--release", "r1")
    finally:
        file.write_text(text)
    assert done.code == 5
    assert "stack horizon: horizont is not in the release r1" in done.err
    assert 'did you mean "horizon"?' in done.err
    assert site.containers() == {}


def test_nothing_is_started_if_a_host_cannot_be_reached(site: Site) -> None:
    # The only host there is, and so that of all stacks.
    far = 'deploy.hosts.far.docker="unix:///no/such/engine.sock"'
    done = site("deploy", "--release", "r1", "--set", far)
    assert done.code == 5
    assert 'the Docker Engine of host "far" cannot be reached' in done.err
    assert site.containers() == {}


def test_a_release_becomes_a_cloud(site: Site) -> None:
    begun = time.monotonic()
    done = site("deploy", "--release", "r1")
    assert done.code == 0, done.err
    assert f"{STACKS} of {STACKS} stacks up" in done.err
    sys.stderr.write(f"\nfrom nothing to a cloud in {time.monotonic() - begun:.0f} s\n{done.err}")


def test_secrets_were_made_for_this_site_and_told_to_nobody(site: Site) -> None:
    file = site.folder / "deploy" / "common.env"
    assert file.stat().st_mode & 0o777 == 0o600
    secrets = re.findall(r"(?m)^\w+=([0-9a-f]{40})$", file.read_text())
    assert len(set(secrets)) == len(secrets) > 10
    said = site("deploy", "--release", "r1", "--dry-run").err + site("status").out
    assert not [secret for secret in secrets if secret in said]


def test_status_shows_every_container_well_and_of_this_release(site: Site) -> None:
    done = site("status")
    assert done.code == 0, done.out
    conditions = {line.split()[2] for line in done.out.splitlines()[1:]}
    assert conditions == {"healthy", "done"}


def test_a_second_deployment_touches_nothing(site: Site) -> None:
    before = site.containers()
    done = site("deploy", "--release", "r1")
    assert done.code == 0
    assert done.err.count("unchanged") == STACKS
    assert site.containers() == before


def test_a_network_that_is_another_one_stops_the_deployment(site: Site) -> None:
    done = site("deploy", "--release", "r2", "--set", "deploy.networks.ext.gateway=10.1.0.2")
    assert done.code == 5
    assert "gateway is 10.1.0.1, not 10.1.0.2" in done.err


def test_a_client_gets_a_token(client: Client) -> None:
    assert len(client.value("id", "token", "issue")) > 100


def test_a_guest_boots_gets_an_address_and_reads_its_metadata(client: Client, guest: Path) -> None:
    server = client.boot(guest)
    assert client.value("status", "server", "show", server) == "ACTIVE"
    console = client.console(server)
    assert re.search(r"guest: address 10\.5\.0\.\d+", console), console
    assert f'guest: metadata "uuid": "{server}"' in console


def test_a_volume_becomes_available(client: Client) -> None:
    client("volume", "create", "--size", "1", "volume")
    shown = ("volume", "show", "volume")
    assert soon(lambda: client.value("status", *shown) == "available", within=60)


def test_the_dashboard_shows_its_login_page(site: Site) -> None:
    address = docker("port", site.container("horizon", "horizon"), "8080")
    with urllib.request.urlopen(f"http://{address}/auth/login/", timeout=30) as reply:
        assert reply.status == 200
        assert b'name="password"' in reply.read()


@pytest.mark.parametrize(
    ("stack", "service", "port"),
    [
        ("contrail-config", "config-api", 8084),
        ("contrail-analytics", "analytics-api", 8090),
        ("contrail-control", "control-control", 8083),
        ("contrail-vrouter", "vrouter-agent", 8085),
    ],
)
def test_contrail_reports_what_it_needs_as_connected(
    site: Site, stack: str, service: str, port: int
) -> None:
    page = f"http://127.0.0.1:{port}/Snh_SandeshUVECacheReq?x=NodeStatus"
    status = docker("exec", site.container(stack, service), "curl", "-fsS", page)
    assert "<state>Functional</state>" in status
    assert "<status>Up</status>" in status
    assert "<status>Down</status>" not in status


def test_guests_get_addresses_after_a_restart_of_the_dhcp_agent(site: Site, client: Client) -> None:
    agent = site.container("compute", "neutron-dhcp-agent")
    docker("restart", agent)
    # Its namespace is back, with the tap in it; until then there is only the name of the old one.
    look = ("exec", "--user", "root", agent, "sh", "-c")
    each = "for n in $(ip netns | cut -d' ' -f1); do ip netns exec $n ip -brief address; done"
    inside = f"{each} || true"
    assert soon(lambda: "10.5.0." in docker(*look, inside), within=90)
    client("server", "reboot", "--hard", "--wait", "guest")
    assert "guest: address 10.5.0." in client.console("guest")


def test_a_changed_leaf_recreates_its_stack_alone(site: Site, client: Client) -> None:
    token = client.value("id", "token", "issue")
    before = site.containers()
    done = site("deploy", "--release", "r2")
    assert done.code == 0, done.err
    after = site.containers()
    changed = {name for name in before if before[name] != after.get(name)}
    assert changed == {site.container("glance", "glance-api")}
    images = ("curl", "-fsS", "-H", f"X-Auth-Token: {token}", "http://glance-api:9292/v2/images")
    assert '"guest"' in docker("exec", client.id, *images)
    assert client.value("status", "server", "show", "guest") == "ACTIVE"


def test_a_stack_goes_back_to_the_release_before(site: Site) -> None:
    before = docker("inspect", "--format", "{{.Image}}", site.container("glance", "glance-api"))
    assert site("rollback", "glance").code == 0
    after = docker("inspect", "--format", "{{.Image}}", site.container("glance", "glance-api"))
    assert before != after
    assert " r1 " in site("status", "glance").out


def test_a_broken_keystone_is_replaced_by_the_one_that_ran(site: Site, client: Client) -> None:
    done = site("deploy", "--release", "r3", "--timeout", "90", "keystone")
    assert done.code == 5
    assert "failed, rolled back" in done.err
    assert "no app loaded" in done.err
    assert site("status", "keystone").code == 0
    assert client.value("id", "token", "issue")


def test_down_removes_containers_and_keeps_data(site: Site) -> None:
    assert site("down", "horizon", "cinder", "glance").code == 0
    left = [name for name in site.containers() if "-glance-" in name]
    volumes = docker("volume", "ls", "--quiet", "--filter", f"name={site.name}-glance")
    assert left == []
    assert volumes == f"{site.name}-glance_images"
