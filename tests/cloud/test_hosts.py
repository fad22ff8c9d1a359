"""A controller and a compute host: stacks on each, guests on the one, their network between both.

These tests are one story, told in order: each leaves the cloud as the next one wants it.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from msgspec import Struct

from tests.cloud.client import Client
from tests.cloud.site import HOST, NAMESPACE, Site, release
from tests.support.containers import References
from tests.support.hosts import HostEngine, hosts
from tests.support.registry import require
from tests.support.relay import Relay
from tests.support.ssh import open_to_ssh

pytestmark = pytest.mark.cloud

STACKS = 8
HOSTS = """\
[publish]
plain-http = ["{registry}"]

[deploy.hosts.controller]
docker = "{context}"
address = "{controller}"

[deploy.hosts.compute]
docker = "{compute}"

"""


class Pair(Struct, frozen=True):
    """A site whose compute stack is on a host of its own, which is reached by ssh."""

    site: Site
    controller: HostEngine
    compute: HostEngine


@pytest.fixture(scope="module")
def pair(references: References, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    """Two hosts that have nothing yet, and a release in a registry that both of them reach."""
    require(shutil.which("docker"), "the docker command")
    release("r1", {})
    folder = tmp_path_factory.mktemp("pair")
    (folder / "ssh").mkdir()
    with hosts("controller", "compute") as wire, Relay(wire.gateway, HOST) as relay:
        controller, compute = wire.hosts
        ssh = open_to_ssh(compute, folder / "ssh", references["base"])
        environ = {"PATH": ssh.path, "DOCKER_CONFIG": str(folder / "docker")}
        site = Site(folder / "site", environ=environ)
        _context(f"{site.name}-controller", controller.url, environ)
        site.folder.mkdir()
        site.write()
        file = site.folder / "build.toml"
        file.write_text(
            _spread(
                file.read_text(),
                registry=relay.address,
                described=HOSTS.format(
                    registry=relay.address,
                    context=f"{site.name}-controller",
                    controller=controller.address,
                    compute=ssh.url,
                ),
            )
        )
        yield Pair(site=site, controller=controller, compute=compute)


def _context(name: str, url: str, environ: dict[str, str]) -> None:
    subprocess.run(
        ["docker", "context", "create", name, "--docker", f"host={url}"],
        env={**os.environ, **environ},
        capture_output=True,
        check=True,
        timeout=60,
    )


def _spread(text: str, *, registry: str, described: str) -> str:
    """The build.toml of one host for two: OpenStack's stacks alone, each with its host."""
    project, *tables = re.split(r"(?m)^(?=\[)", text)[1:]
    kept = [project.rstrip() + f'\nregistry = "{registry}"\n\n']
    for table in tables:
        name = table.partition("]")[0].removeprefix("[deploy.stacks.")
        if table.startswith("[deploy.stacks."):
            if name.startswith("contrail"):
                continue
            host = "compute" if name == "compute" else "controller"
            table = table.replace("\nfile =", f'\nhost = "{host}"\nfile =')  # noqa: PLW2901
        elif table.startswith("[deploy.networks.ext]"):
            continue
        kept.append(table)
    return "".join(kept) + "\n" + described


@pytest.fixture(scope="module")
def client(pair: Pair) -> Client:
    """A client on the controller; it goes with the host."""
    registry = re.findall(r'registry = "(.*)"', (pair.site.folder / "build.toml").read_text())[0]
    image = f"{registry}/{NAMESPACE}/openstack-client:r1"
    pair.controller.docker("pull", "--quiet", image)
    return Client(pair.site, image, engine=("--host", pair.controller.url))


def test_two_hosts_become_a_swarm(pair: Pair) -> None:
    for words in (("deploy", "init"), ("deploy", "join")):
        done = pair.site(*words)
        assert done.code == 0, done.err
        sys.stderr.write(f"\n$ ocbuild {' '.join(words)}\n{done.err}")
    assert pair.controller.docker("node", "ls", "--format", "{{.Status}}") == "Ready\nReady"


def test_a_release_becomes_a_cloud_on_both(pair: Pair) -> None:
    assert pair.compute.tunnelled() == 0
    begun = time.monotonic()
    done = pair.site("deploy", "--release", "r1")
    assert done.code == 0, done.err
    assert f"{STACKS} of {STACKS} stacks up" in done.err
    assert f"network {pair.site.networks[0]}: made (overlay)" in done.err
    sys.stderr.write(f"\nfrom nothing to a cloud in {time.monotonic() - begun:.0f} s\n{done.err}")
    names = ("ps", "--filter", f"name={pair.site.name}-", "--format", "{{.Names}}")
    stacks = [
        {name.removeprefix(f"{pair.site.name}-").split("-")[0] for name in found.split()}
        for found in (pair.controller.docker(*names), pair.compute.docker(*names))
    ]
    assert stacks[1] == {"compute"}
    assert stacks[0] >= {"database", "keystone", "glance", "nova", "neutron", "cinder", "horizon"}
    assert "compute" not in stacks[0]


def test_status_shows_both_hosts_and_a_second_deployment_touches_neither(pair: Pair) -> None:
    done = pair.site("status", "--json")
    assert done.code == 0, done.out
    assert '"host": "controller"' in done.out
    assert '"host": "compute"' in done.out
    again = pair.site("deploy", "--release", "r1")
    assert again.err.count("unchanged") == STACKS, again.err


def test_a_guest_boots_on_the_second_host_and_all_it_asks_for_crosses(
    pair: Pair, client: Client, guest: Path
) -> None:
    assert len(client.value("id", "token", "issue")) > 100
    before = pair.compute.tunnelled()
    server = client.boot(guest)
    shown = client("server", "show", server, "--format", "json")
    assert '"status": "ACTIVE"' in shown
    assert '"OS-EXT-SRV-ATTR:host": "compute-1"' in shown
    listed = pair.compute.docker("exec", f"{pair.site.name}-compute-libvirt-1", "virsh", "list")
    assert "running" in listed
    console = client.console(server)
    assert re.search(r"guest: address 10\.5\.0\.\d+", console), console
    # Nova's metadata service is on the controller.
    assert f'guest: metadata "uuid": "{server}"' in console
    crossed = pair.compute.tunnelled() - before
    sys.stderr.write(f"\n{crossed} packets in the tunnel from the compute host\n")
    assert crossed > 100
    for words in (
        ("compute", "service", "list", "-c", "Binary", "-c", "Host", "-c", "State"),
        ("server", "list", "--long", "-c", "Name", "-c", "Status", "-c", "Networks", "-c", "Host"),
    ):
        sys.stderr.write(f"$ openstack {' '.join(words)}\n{client(*words)}\n")


def test_guests_have_what_the_overlay_leaves_them(client: Client) -> None:
    # 1500 on the wire, 50 less in the overlay, and 50 less in the tunnels of guests.
    assert client.value("mtu", "network", "show", "net") == "1400"
