"""Stacks on two hosts: one swarm, an overlay between them, each pulling for itself."""

from __future__ import annotations

import base64
import contextlib
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from msgspec import Struct

from tests.e2e.conftest import Ended, Ocbuild
from tests.support.certificates import make_authority
from tests.support.engines import running
from tests.support.hosts import HostEngine, Wire, hosts, remove_stale
from tests.support.registry import PASSWORD, USER, LocalRegistry
from tests.support.relay import Relay
from tests.support.secure_registry import SecureRegistry, Tokens
from tests.support.token_server import TokenServer
from tests.support.tree import Tree

pytestmark = [pytest.mark.e2e, pytest.mark.engine]

SERVE = 'RUN echo well > /hello\nCMD ["httpd", "-f", "-p", "8000", "-h", "/"]\n'
STACK = """\
name: {namespace}-{name}
services:
  {name}:
    image: ${{REGISTRY}}/${{NAMESPACE}}/{name}:${{TAG_IMAGES}}
    restart: unless-stopped
    init: true
    networks: [internal]
    environment: {{MTU: "${{MTU_INTERNAL:-}}"}}
{more}networks:
  internal:
    external: true
    name: {namespace}-internal
"""
WORKER = """\
  worker:
    image: ${REGISTRY}/${NAMESPACE}/worker:${TAG_IMAGES}
    restart: unless-stopped
    network_mode: service:api
    command: [httpd, -f, -p, "8001"]
"""
RUNNING = ["api-api-1", "api-worker-1", "database-database-1"]
DEPLOY = """
[publish]
plain-http = {plain}

[deploy.hosts.controller]
docker = "{controller.url}"
address = "{controller.address}"

[deploy.hosts.node]
docker = "{node.url}"

[deploy.networks.internal]
driver = "overlay"

[deploy.stacks.database]
file = "deploy/database.yml"
host = "controller"

[deploy.stacks.api]
file = "deploy/api.yml"
host = "node"
needs = ["database"]
"""


@pytest.fixture(scope="module")
def wire() -> Iterator[Wire]:
    with hosts("controller", "node") as made:
        yield made


class Cloud(Struct, frozen=True):
    """Two stacks, published to a registry that both hosts reach under one name."""

    ocbuild: Ocbuild
    name: str
    registry: str
    controller: HostEngine
    node: HostEngine

    def __call__(self, *words: str, config: Path | None = None) -> Ended:
        folder = {} if config is None else {"DOCKER_CONFIG": str(config)}
        return self.ocbuild(*words, "--registry", self.registry, env=folder)

    def running(self) -> list[str]:
        words = ("ps", "--filter", f"name={self.name}-", "--format", "{{.Names}}")
        found = self.controller.docker(*words) + "\n" + self.node.docker(*words)
        return sorted(name.removeprefix(f"{self.name}-") for name in found.split())

    @property
    def network(self) -> str:
        return f"{self.name}-internal"

    def reset(self) -> None:
        """As if nobody had ever deployed anything: no container, no network, no swarm."""
        for host in (self.node, self.controller):
            left = host.docker("ps", "--all", "--quiet").split()
            if left:
                host.docker("rm", "--force", "--volumes", *left)
            host.docker("network", "rm", self.network, check=False)
            host.docker("swarm", "leave", "--force", check=False)


def write(tree: Tree, wire: Wire, namespace: str, *plain: str) -> None:
    controller, node = wire.hosts
    toml = (tree.root / "build.toml").read_text()
    described = DEPLOY.format(controller=controller, node=node, plain=json.dumps(plain))
    tree.write("build.toml", toml + described)
    for name, more in (("database", ""), ("api", WORKER)):
        text = STACK.format(name=name, namespace=namespace, more=more)
        tree.write(f"deploy/{name}.yml", text)
    for name in ("database", "api", "worker"):
        tree.image(name, f"FROM base\n{SERVE}RUN echo {name} > /name\n")


@pytest.fixture
def cloud(
    ocbuild: Ocbuild, tree: Tree, namespace: str, registry: LocalRegistry, wire: Wire
) -> Iterator[Cloud]:
    with Relay(wire.gateway, registry.address) as relay:
        write(tree, wire, namespace, relay.address)
        tree.commit()
        ended = ocbuild("all", "--push")
        assert ended.code == 0, ended.err
        made = Cloud(ocbuild, namespace, relay.address, *wire.hosts)
        yield made
        made.reset()


def test_hosts_become_one_swarm_and_a_second_time_nothing_happens(cloud: Cloud) -> None:
    assert "would become the manager" in cloud("deploy", "init", "--dry-run").err
    none = cloud("deploy", "join")
    assert none.code == 5
    assert "no host manages a swarm (asked: controller, node)" in none.err
    alone = cloud("deploy")
    assert alone.code == 5
    assert 'host "controller" is in no swarm' in alone.err
    assert cloud.running() == []

    made = cloud("deploy", "init")
    assert made.code == 0, made.err
    assert f"manages a new swarm, at {cloud.controller.address}:2377" in made.err
    token = cloud.controller.docker("swarm", "join-token", "--quiet", "worker")
    assert "would join the swarm of controller" in cloud("deploy", "join", "--dry-run").err
    assert cloud.node.docker("info", "--format", "{{.Swarm.LocalNodeState}}") == "inactive"
    joined = cloud("deploy", "join")
    assert joined.code == 0, joined.err
    assert "joined the swarm of controller" in joined.err
    again = cloud("deploy", "init").err + cloud("deploy", "join", "node").err
    assert "manages a swarm already" in again
    assert "is in the swarm of controller already" in again
    assert token not in made.err + joined.err + again
    nodes = cloud.controller.docker("node", "ls", "--format", "{{.Status}}").split()
    assert nodes == ["Ready", "Ready"]


def test_a_host_out_of_reach_or_of_another_swarm_stops_all_of_it(cloud: Cloud) -> None:
    assert cloud("deploy", "init").code == 0
    far = cloud("deploy", "--set", 'deploy.hosts.node.docker="unix:///no/such/engine.sock"')
    assert far.code == 5
    assert 'the Docker Engine of host "node" cannot be reached' in far.err
    assert len(far.err.split("\n\n")[0].splitlines()) == 1, far.err
    cloud.node.docker("swarm", "init", "--advertise-addr", cloud.node.address)
    for words in (("deploy", "join"), ("deploy",)):
        done = cloud(*words)
        assert done.code == 5
        assert 'the hosts "controller" and "node" manage two different swarms' in done.err
    assert cloud.running() == []
    assert cloud.network not in cloud.controller.docker("network", "ls")


def test_stacks_on_two_hosts_reach_each_other_by_name(
    cloud: Cloud, registry: LocalRegistry
) -> None:
    for words in (("deploy", "init"), ("deploy", "join")):
        assert cloud(*words).code == 0
    # On our loopback, which is none of theirs.
    alone = cloud.ocbuild("deploy", "--registry", registry.address)
    assert alone.code == 5
    assert f"network {cloud.network}: made (overlay)" in alone.err
    assert re.search(rf'cannot pull {registry.address}/\S+ on host "\w+": ', alone.err), alone.err
    assert f"does {registry.address} run, and can the engine's host reach it?" in alone.err
    assert cloud.running() == []

    sent = cloud.node.tunnelled()
    done = cloud("deploy")
    assert done.code == 0, done.err
    assert cloud.running() == RUNNING
    rows = cloud("status", "--json").json
    assert {row["stack"]: row["host"] for row in rows} == {"database": "controller", "api": "node"}
    inside = ("exec", f"{cloud.name}-api-api-1")
    # It complains of the address of IPv6 that there is none.
    found = cloud.node.docker(*inside, "nslookup", "database", check=False)
    address = re.findall(r"Address: (10\.\d+\.\d+\.\d+)$", found, re.MULTILINE)[-1]
    assert cloud.node.docker(*inside, "wget", "-q", "-O", "-", f"http://{address}:8000/hello")
    assert cloud.node.tunnelled() > sent
    told = cloud.node.docker(*inside, "sh", "-c", "echo $MTU $(cat /sys/class/net/eth0/mtu)")
    assert told == "1450 1450"

    before = {each.name: each.docker("ps", "--quiet") for each in (cloud.controller, cloud.node)}
    again = cloud("deploy")
    assert (again.code, again.err.count("unchanged")) == (0, 2)
    assert "pull" not in again.err
    after = {each.name: each.docker("ps", "--quiet") for each in (cloud.controller, cloud.node)}
    assert before == after

    # What the worker knows of the network goes with its last container, and comes back.
    assert cloud("down", "api").code == 0
    assert cloud("deploy", "api").code == 0
    assert cloud.running() == RUNNING
    assert cloud("deploy", "--host", "node").err.count("unchanged") == 1


class Guarded(Struct, frozen=True):
    """A registry that asks who one is: where we reach it, and where hosts do; and its servers."""

    here: str
    there: str
    plain: tuple[str, ...]
    folder: Path

    def login(self, name: str, password: str) -> Path:
        folder = self.folder / name
        folder.mkdir()
        auth = base64.b64encode(f"{USER}:{password}".encode()).decode()
        auths = {place: {"auth": auth} for place in (self.here, self.there)}
        (folder / "config.json").write_text(json.dumps({"auths": auths}))
        return folder


@pytest.fixture(params=["by password", "by token"])
def guarded(request: pytest.FixtureRequest, wire: Wire, tmp_path: Path) -> Iterator[Guarded]:
    with contextlib.ExitStack() as stack:
        if request.param == "by password":
            registry = stack.enter_context(LocalRegistry(login=True))
            plain: tuple[str, ...] = ()
        else:
            authority = make_authority(tmp_path)
            server = TokenServer(authority)
            stack.enter_context(server.web)
            tokens = stack.enter_context(Relay(wire.gateway, server.web.address)).address
            where = Tokens(realm=f"http://{tokens}/token", certificate=authority.certificate)
            registry = stack.enter_context(SecureRegistry(tokens=where))
            plain = (tokens,)
        relay = stack.enter_context(Relay(wire.gateway, registry.address))
        yield Guarded(
            here=registry.address,
            there=relay.address,
            plain=(relay.address, *plain),
            folder=tmp_path,
        )


def test_hosts_pull_with_the_logins_of_the_machine_that_deploys(
    ocbuild: Ocbuild, tree: Tree, namespace: str, wire: Wire, guarded: Guarded
) -> None:
    write(tree, wire, namespace, *guarded.plain)
    tree.commit()
    known = guarded.login("known", PASSWORD)
    there = ("--registry", guarded.here)
    ended = ocbuild("all", "--push", *there, env={"DOCKER_CONFIG": str(known)})
    assert ended.code == 0, ended.err
    cloud = Cloud(ocbuild, namespace, guarded.there, *wire.hosts)
    try:
        for words in (("deploy", "init"), ("deploy", "join")):
            assert cloud(*words).code == 0
        refused = cloud("deploy", config=guarded.login("unknown", "wrong"))
        assert refused.code != 0
        assert cloud.running() == []
        done = cloud("deploy", config=known)
        assert done.code == 0, done.err
        # The node pulls two and, first, what they have in common.
        assert "host controller: 1 image pulled" in done.err
        assert "host node: 3 images pulled" in done.err
        assert PASSWORD not in done.err
    finally:
        cloud.reset()


LOST = """\
import time
from tests.support.hosts import hosts
with hosts("lost") as wire:
    wire.hosts[0].docker("network", "create", "left")
    print(wire.hosts[0].folder, flush=True)
    time.sleep(600)
"""


def test_what_a_killed_run_of_these_tests_left_is_removed_by_the_next(wire: Wire) -> None:
    with subprocess.Popen([sys.executable, "-c", LOST], stdout=subprocess.PIPE, text=True) as lost:
        assert lost.stdout is not None
        folder = Path(lost.stdout.readline().strip())
        lost.kill()
    assert running(str(folder))
    remove_stale()
    assert not running(str(folder))
    assert not folder.exists()
    assert f"ocbuild-hosts-{lost.pid}" not in _names()
    # Ours are still in use.
    assert all(host.docker("version") for host in wire.hosts)


def _names() -> str:
    """Of namespaces and of rules, of which each bears its run's."""
    asked = (["ip", "netns", "list"], ["iptables", "--wait", "--list-rules", "FORWARD"])
    return "".join(
        subprocess.run(words, capture_output=True, text=True, check=True).stdout for words in asked
    )
