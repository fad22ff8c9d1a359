"""From a release to running stacks, with images so small that a stack is up in a second."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import Ended, Ocbuild, ask, docker, interrupt
from tests.support.engines import soon
from tests.support.registry import LocalRegistry
from tests.support.tree import Tree

pytestmark = [pytest.mark.e2e, pytest.mark.engine]

CHECK = "HEALTHCHECK --interval=1s --retries=3 CMD test -e /well\n"
SERVE = 'CMD ["sh", "-c", "trap exit TERM; echo $SECRET; while true; do sleep 1; done"]\n'
SERVER = f"FROM base\nRUN touch /well\n{CHECK}{SERVE}"
OTHER = f"FROM base\nRUN touch /well /other\n{CHECK}{SERVE}"
SICK = "FROM base\n" + CHECK + 'CMD ["sh", "-c", "echo where is my database; exit 7"]\n'
DATABASE = """\
name: ${CLOUD}-database
services:
  database:
    image: ${REGISTRY}/${NAMESPACE}/database:${TAG_IMAGES}
    restart: unless-stopped
    networks: [internal]
    environment: {SECRET: "${SECRET:?}"}
    volumes: [data:/data]
volumes:
  data:
networks:
  internal:
    external: true
    name: ${CLOUD}-internal
"""
API = """\
name: ${CLOUD}-api
x-image: &image ${REGISTRY}/${NAMESPACE}/api:${TAG_IMAGES}
services:
  sync:
    image: *image
    command: [touch, /done]
    networks: [internal]
  api:
    image: *image
    restart: unless-stopped
    networks: [internal]
    depends_on: {sync: {condition: service_completed_successfully}}
  worker:
    image: ${REGISTRY}/${NAMESPACE}/database:${TAG_IMAGES}
    restart: unless-stopped
    network_mode: service:api
networks:
  internal:
    external: true
    name: ${CLOUD}-internal
"""
STACKS = """
[deploy.networks.internal]
subnet = "{subnet}"

[deploy.stacks.database]
file = "deploy/database.yml"

[deploy.stacks.api]
file = "deploy/api.yml"
needs = ["database"]
"""


class Cloud:
    """A tree with two stacks, which are published as anybody does."""

    def __init__(self, ocbuild: Ocbuild, tree: Tree, name: str) -> None:
        self.name = name
        self._ocbuild = ocbuild
        self._tree = tree
        tree.write("deploy/database.yml", DATABASE)
        tree.write("deploy/api.yml", API)
        tree.write("deploy/common.env.example", f"CLOUD={name}\nSECRET=<random>\n")
        tree.write(".gitignore", ".ocbuild/\ncommon.env\n")
        toml = (tree.root / "build.toml").read_text()
        # One of 2^12 networks, for tests run side by side.
        number = int(name[-3:], 16)
        subnet = f"10.{200 + (number >> 8)}.{number & 255}.0/24"
        tree.write("build.toml", toml + STACKS.format(subnet=subnet))
        tree.image("database", SERVER)
        tree.image("api", SERVER)

    def __call__(self, *words: str) -> Ended:
        return self._ocbuild(*words)

    def publish(self) -> str:
        """Commit what the tree holds and publish it; the tag of the release."""
        self._tree.commit()
        ended = self._ocbuild("all", "--push")
        assert ended.code == 0, ended.err
        release = self._ocbuild.report()["release"]
        assert release
        return str(release).rpartition(":")[2]

    def change(self, image: str, dockerfile: str) -> None:
        self._tree.write(f"images/{image}/Dockerfile", dockerfile)

    def containers(self) -> dict[str, str]:
        """The id of each container that runs, by stack and service."""
        shown = docker(
            *("ps", "--no-trunc", "--filter", f"name={self.name}-"),
            *("--format", "{{.Names}} {{.ID}}"),
        )
        pairs = (line.split() for line in shown.splitlines())
        return {name.removeprefix(f"{self.name}-"): id_ for name, id_ in pairs}


@pytest.fixture
def cloud(ocbuild: Ocbuild, tree: Tree, namespace: str) -> Iterator[Cloud]:
    made = Cloud(ocbuild, tree, namespace)
    yield made
    made("down", "--volumes")
    left = docker("ps", "--all", "--quiet", "--filter", f"name={namespace}-").split()
    if left:
        docker("rm", "--force", "--volumes", *left)
    volumes = docker("volume", "ls", "--quiet", "--filter", f"name={namespace}-").split()
    if volumes:
        docker("volume", "rm", *volumes)
    docker("network", "rm", f"{namespace}-internal", check=False)


def recorded(registry: LocalRegistry, namespace: str) -> dict[str, dict[str, Any]]:
    """What the registry was told of deployments, by host and stack."""
    tags = ask(registry, f"{namespace}/release/tags/list")[0]["tags"]
    kind = "application/vnd.oci.image.manifest.v1+json"
    found = {}
    for tag in tags:
        if tag.startswith("deployed-"):
            manifest, _ = ask(registry, f"{namespace}/release/manifests/{tag}", kind)
            digest = manifest["layers"][0]["digest"]
            entry, _ = ask(registry, f"{namespace}/release/blobs/{digest}")
            found[f"{entry['host']}.{entry['stack']}"] = entry
    return found


def test_the_registry_knows_what_runs_and_prune_keeps_it(
    cloud: Cloud, registry: LocalRegistry, namespace: str, tree: Tree
) -> None:
    one = cloud.publish()
    assert cloud("deploy").code == 0
    first = recorded(registry, namespace)
    assert first.keys() == {"local.api", "local.database"}
    assert {entry["now"]["release"] for entry in first.values()} == {one}
    assert all(entry["before"] is None and "@" in entry["by"] for entry in first.values())
    images = [each["image"] for each in first["local.api"]["now"]["compose"]["services"].values()]
    assert all("@sha256:" in image for image in images)
    secret = (tree.root / "deploy/common.env").read_text().rpartition("SECRET=")[2].strip()
    assert secret not in str(first)

    cloud.change("api", OTHER)
    two = cloud.publish()
    assert cloud("deploy").code == 0
    second = recorded(registry, namespace)
    assert second["local.api"]["now"]["release"] == two
    assert second["local.api"]["before"] == first["local.api"]["now"]
    # The database was not touched, but what it runs is in the newer release, too.
    assert second["local.database"]["now"]["id"] == first["local.database"]["now"]["id"]
    assert second["local.database"]["now"]["release"] == two

    assert pruned(cloud) == {one: True, two: True}
    # A third release is not deployed, so that "latest" keeps neither of them.
    cloud.change("api", SERVER + "# once more\nRUN touch /more\n")
    three = cloud.publish()
    assert pruned(cloud) == {one: True, two: True, three: True}
    assert cloud("down").code == 0
    assert pruned(cloud) == {one: False, two: False, three: True}
    assert {entry["now"] for entry in recorded(registry, namespace).values()} == {None}


def pruned(cloud: Cloud) -> dict[str, bool]:
    """Which releases a prune that keeps nothing for its age would keep."""
    found = cloud("prune", "--keep-commits", "0", "--keep-days", "0", "--json").json
    return {one["tag"]: one["keep"] for one in found["releases"]}


def elsewhere(tree: Tree, folder: Path) -> Ocbuild:
    """Another machine: a clone of the tree, without secrets, and an empty state folder."""
    tree.git("clone", "--quiet", ".", str(folder / "clone"))
    clone = folder / "clone"
    toml = (clone / "build.toml").read_text()
    return Ocbuild(Tree(clone, toml=toml), folder / "other-state")


def test_another_machine_sees_rolls_back_and_takes_down_what_this_one_deployed(
    cloud: Cloud, tree: Tree, tmp_path: Path, registry: LocalRegistry, namespace: str
) -> None:
    old = cloud.publish()
    assert cloud("deploy").code == 0
    cloud.change("api", OTHER)
    new = cloud.publish()
    assert cloud("deploy").code == 0
    before = cloud.containers()
    other = elsewhere(tree, tmp_path)

    status = other("status", "--json")
    assert status.code == 0, status.err
    assert {(row["service"], row["condition"], row["release"]) for row in status.json} == {
        ("database", "healthy", new),
        ("sync", "done", new),
        ("api", "healthy", new),
        ("worker", "healthy", new),
    }
    assert all("@" in row["by"] for row in status.json)

    # Its secrets would be new ones, and the volumes know only the old ones.
    for words in (["deploy"], ["rollback", "api"]):
        refused = other(*words)
        assert refused.code == 5, refused.err
        assert "common.env is missing here" in refused.err
    assert not (other.tree.root / "deploy/common.env").exists()
    assert cloud.containers() == before

    shutil.copy(tree.root / "deploy/common.env", other.tree.root / "deploy/common.env")
    rolled = other("rollback", "api")
    assert rolled.code == 0, rolled.err
    entry = recorded(registry, namespace)["local.api"]
    assert (entry["now"]["release"], entry["before"]["release"]) == (old, new)
    after = cloud.containers()
    assert after["database-database-1"] == before["database-database-1"]
    assert after["api-api-1"] != before["api-api-1"]

    # The first machine learns of it, and does not take its own record for what runs.
    assert {row["release"] for row in cloud("status", "api", "--json").json} == {old}
    again = cloud("deploy", "--release", new)
    assert again.code == 0, again.err
    assert {row["release"] for row in cloud("status", "api", "--json").json} == {new}
    assert {row["drift"] for row in other("status", "--json").json} == {""}
    entry = recorded(registry, namespace)["local.api"]
    assert (entry["now"]["release"], entry["before"]["release"]) == (new, old)

    assert other("down", "--volumes").code == 0
    assert cloud.containers() == {}
    assert docker("volume", "ls", "--quiet", "--filter", f"name={cloud.name}-") == ""
    assert all(
        (entry["now"], entry["data"]) == (None, False)
        for entry in recorded(registry, namespace).values()
    )
    assert {row["condition"] for row in cloud("status", "--json").json} == {"not deployed"}


def test_a_release_is_deployed_once_rolled_forward_and_back(cloud: Cloud, tree: Tree) -> None:
    old = cloud.publish()
    first = cloud("deploy")
    assert first.code == 0, first.err
    assert f"{old}: 2 of 2 stacks up" in first.err
    before = cloud.containers()
    assert before.keys() == {"database-database-1", "api-api-1", "api-worker-1"}
    secret = (tree.root / "deploy/common.env").read_text().rpartition("SECRET=")[2].strip()
    assert len(secret) == 40
    assert secret not in first.out + first.err + cloud("status", "--json").out
    # The container was given it, and says so in its own log.
    assert secret in cloud("logs", "database").out

    again = cloud("deploy")
    assert (again.code, again.err.count("unchanged")) == (0, 2)
    assert cloud.containers() == before

    cloud.change("api", OTHER)
    cloud.publish()
    plan = cloud("deploy", "--dry-run")
    assert "would be started: api, sync, worker" in plan.err
    assert cloud.containers() == before
    assert cloud("deploy").code == 0
    after = cloud.containers()
    assert after["database-database-1"] == before["database-database-1"]
    # The worker lives in the network of the api, so it goes with it.
    assert {name for name in after if after[name] != before[name]} == {"api-api-1", "api-worker-1"}
    docker("exec", after["api-worker-1"], "ls", "/well")

    assert cloud("rollback", "api").code == 0
    rows = cloud("status", "api", "--json").json
    assert {(row["service"], row["condition"], row["release"]) for row in rows} == {
        ("api", "healthy", old),
        ("sync", "done", old),
        ("worker", "healthy", old),
    }


def test_a_sick_stack_is_explained_and_the_one_before_runs_again(cloud: Cloud) -> None:
    cloud.publish()
    assert cloud("deploy").code == 0
    good = docker("inspect", "--format", "{{.Image}}", cloud.containers()["api-api-1"])
    cloud.change("api", SICK)
    cloud.publish()
    done = cloud("deploy", "--timeout", "20")
    assert done.code == 5
    assert "failed, rolled back" in done.err
    assert "where is my database" in done.err
    now = docker("inspect", "--format", "{{.Image}}", cloud.containers()["api-api-1"])
    assert now == good
    assert cloud("status").code == 0


def test_what_needs_a_stack_that_failed_is_not_started(cloud: Cloud) -> None:
    cloud.change("database", SICK)
    cloud.publish()
    done = cloud("deploy", "--timeout", "20")
    assert done.code == 5
    assert "not started: a stack that it needs is not up" in done.err
    assert cloud.containers() == {}


def test_nothing_starts_unless_hosts_and_networks_are_as_described(
    cloud: Cloud, tmp_path: Path
) -> None:
    cloud.publish()
    far = cloud("deploy", "--set", f'deploy.hosts.far.docker="unix://{tmp_path}/no.sock"')
    assert far.code == 5
    assert 'the Docker Engine of host "far" cannot be reached' in far.err
    docker("network", "create", "--subnet", "10.199.7.0/24", f"{cloud.name}-internal")
    other = cloud("deploy")
    assert other.code == 5
    assert "subnet is 10.199.7.0/24, not 10." in other.err
    assert cloud.containers() == {}


def test_down_keeps_data_unless_it_is_told_otherwise(cloud: Cloud) -> None:
    cloud.publish()
    assert cloud("deploy").code == 0
    docker("exec", cloud.containers()["database-database-1"], "touch", "/data/kept")
    assert cloud("down").code == 0
    assert cloud.containers() == {}
    assert cloud("deploy").code == 0
    docker("exec", cloud.containers()["database-database-1"], "ls", "/data/kept")
    assert cloud("down", "--volumes").code == 0
    assert docker("volume", "ls", "--quiet", "--filter", f"name={cloud.name}-") == ""


def test_an_interrupted_deployment_ends_soon_and_the_next_one_goes_on(
    cloud: Cloud, ocbuild: Ocbuild
) -> None:
    # Neither healthy nor ended: only the interruption ends the wait for it.
    cloud.change("api", f"FROM base\n{CHECK.replace('--retries=3', '--retries=9999')}{SERVE}")
    cloud.publish()
    process = ocbuild.start("deploy")
    assert soon(lambda: "api-api-1" in cloud.containers(), within=60)
    out = interrupt(process)
    assert process.returncode == 130, out
    cloud.change("api", SERVER)
    cloud.publish()
    assert cloud("deploy").code == 0


def test_a_watch_tells_what_changes_and_ends_when_it_is_told(
    cloud: Cloud, ocbuild: Ocbuild, tmp_path: Path
) -> None:
    release = cloud.publish()
    assert cloud("deploy").code == 0
    told = tmp_path / "told"
    with told.open("w") as out:
        process = ocbuild.start("status", "--watch", "--interval", "0.2", out=out)
        assert soon(lambda: "worker" in told.read_text(), within=60)
        docker("exec", cloud.containers()["api-worker-1"], "rm", "/well")
        assert soon(lambda: "api worker: healthy -> unhealthy" in told.read_text(), within=60)
        docker("rm", "--force", cloud.containers()["api-worker-1"])
        # It may be seen while it is removed, too.
        assert soon(lambda: "-> missing" in told.read_text(), within=60)
        interrupt(process)
    assert process.returncode == 0
    # A line for each change, and none for what stays.
    table, changes = told.read_text().splitlines()[:5], told.read_text().splitlines()[5:]
    assert [line.split()[0] for line in table] == ["stack", "database", "api", "api", "api"]
    assert all(" api worker: " in line for line in changes), changes
    ended = cloud("status", "--json")
    assert ended.code == 5
    found = {row["service"]: row for row in ended.json}
    assert (found["worker"]["condition"], found["worker"]["drift"]) == ("missing", "missing")
    database = found["database"]
    assert database["release"] == release
    assert database["digest"].startswith("sha256:")
    assert database["since"] >= database["deployed"][:10]
    assert database["drift"] == ""


def test_what_runs_can_be_compared_with_a_newer_release(cloud: Cloud) -> None:
    cloud.publish()
    assert cloud("deploy").code == 0
    cloud.change("api", OTHER)
    newer = cloud.publish()
    found = cloud("status", "--release", newer, "--json")
    assert found.code == 0
    assert {row["service"]: row["drift"] for row in found.json} == {
        "api": f"not that of {newer}",
        "sync": f"not that of {newer}",
        "worker": "",
        "database": "",
    }
