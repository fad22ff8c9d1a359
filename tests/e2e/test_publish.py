"""From images to a registry: all of them or none, and only what was selected."""

from __future__ import annotations

import re
import socket
from pathlib import Path

import pytest

from tests.e2e.conftest import Ocbuild, ask, docker
from tests.support.registry import LocalRegistry
from tests.support.tree import Tree

pytestmark = [pytest.mark.e2e, pytest.mark.engine]
RELEASE_TAG = re.compile(r"[0-9][0-9.]*-[0-9a-f]{7}")


def release_tags(registry: LocalRegistry, repository: str) -> list[str]:
    tags = ask(registry, f"{repository}/tags/list")[0]["tags"]
    return sorted(tag for tag in tags if not tag.startswith(("key-", "inventory-", "claim")))


def digest(registry: LocalRegistry, repository: str, tag: str) -> str:
    return ask(registry, f"{repository}/manifests/{tag}")[1]["Docker-Content-Digest"]


def test_a_release_is_published_and_pulled_back(
    ocbuild: Ocbuild, tree: Tree, registry: LocalRegistry, namespace: str
) -> None:
    toml = (tree.root / "build.toml").read_text()
    tree.write("build.toml", toml.replace('version = "1.0"', 'version = "1.0"\nalso = ["latest"]'))
    tree.image("app", 'FROM base\nRUN echo hello > /hello\nCMD ["cat", "/hello"]\n')
    commit = tree.commit()
    ended = ocbuild("all", "--push")
    assert ended.code == 0, ended.err
    catalog = ask(registry, "_catalog?n=1000")[0]["repositories"]
    mine = [name for name in catalog if name.startswith(f"{namespace}/")]
    assert mine == [f"{namespace}/{name}" for name in ("app", "base", "release")]
    assert release_tags(registry, f"{namespace}/release") == [commit, "latest"]
    for repository in mine[:2]:
        assert release_tags(registry, repository) == [f"1.0-{commit}", "latest"]
        assert RELEASE_TAG.fullmatch(f"1.0-{commit}")
    image = ocbuild.report()["images"]["app"]
    assert image["digest"] == digest(registry, f"{namespace}/app", f"1.0-{commit}")
    assert image["digest"] == digest(registry, f"{namespace}/app", "latest")
    reference = image["refs"][0]
    local = docker("images", "--format", "{{.Repository}}:{{.Tag}}").splitlines()
    docker("rmi", "--force", *(name for name in local if f"/{namespace}/" in name))
    assert docker("run", "--rm", reference) == "hello"


def test_only_the_selected_subtree_is_built_and_pushed(
    ocbuild: Ocbuild, tree: Tree, registry: LocalRegistry, namespace: str
) -> None:
    tree.image("nova", "FROM base\nRUN echo nova > /nova\n")
    tree.image("nova-api", "FROM nova\n")
    tree.image("nova-compute", "FROM nova\n")
    tree.image("glance", "FROM base\n")
    first = tree.commit()
    assert ocbuild("all", "--push").code == 0
    tree.image("nova", "FROM base\nRUN echo other > /nova\n")
    second = tree.commit("only nova")
    ended = ocbuild("nova+", "--push")
    assert ended.code == 0, ended.err
    actions = {name: image["action"] for name, image in ocbuild.report()["images"].items()}
    assert actions == {
        "base": "reuse",
        "nova": "build",
        "nova-api": "assemble",
        "nova-compute": "assemble",
    }
    for name in ("nova", "nova-api", "nova-compute"):
        found = release_tags(registry, f"{namespace}/{name}")
        assert found == sorted([f"1.0-{first}", f"1.0-{second}"])
    for name in ("base", "glance"):
        assert release_tags(registry, f"{namespace}/{name}") == [f"1.0-{first}"]


def test_an_ancestor_comes_from_the_registry_when_the_engine_has_none(
    ocbuild: Ocbuild, tree: Tree, namespace: str
) -> None:
    tree.image("app", "FROM base\nRUN echo 1 > /app\n")
    tree.commit()
    assert ocbuild("all", "--push").code == 0
    local = docker("images", "--format", "{{.Repository}}:{{.Tag}}").splitlines()
    docker("rmi", "--force", *(name for name in local if f"/{namespace}/" in name))
    tree.image("app", "FROM base\nRUN echo 2 > /app\n")
    tree.commit()
    ended = ocbuild("app", "--push")
    assert ended.code == 0, ended.err
    assert "the registry has its key" in " ".join(ocbuild.report()["images"]["base"]["reasons"])
    app = ocbuild.report()["images"]["app"]["refs"][0]
    assert docker("run", "--rm", app, "cat", "/app") == "2"


def test_nothing_is_tagged_where_one_image_fails(
    ocbuild: Ocbuild, tree: Tree, registry: LocalRegistry, namespace: str
) -> None:
    tree.image("bad", "FROM base\nRUN false\n")
    tree.commit()
    assert ocbuild("all", "--push").code == 1
    assert release_tags(registry, f"{namespace}/base") == []
    assert ocbuild("release", "ls", "--json").json == []


def test_a_release_tag_never_changes_its_content(
    ocbuild: Ocbuild, tree: Tree, registry: LocalRegistry, namespace: str
) -> None:
    tree.image("app", "FROM base\nRUN cat /proc/sys/kernel/random/uuid > /random\n")
    commit = tree.commit()
    assert ocbuild("all", "--push").code == 0
    first = digest(registry, f"{namespace}/app", f"1.0-{commit}")
    assert ocbuild("all", "--push").code == 0
    ended = ocbuild("app", "--push", "--no-cache")
    assert ended.code == 4
    assert "is published already, and with other content" in ended.err
    assert digest(registry, f"{namespace}/app", f"1.0-{commit}") == first
    ended = ocbuild("app", "--push", "--no-cache", "--set", "publish.immutable=false")
    assert ended.code == 0, ended.err
    assert digest(registry, f"{namespace}/app", f"1.0-{commit}") != first


def test_a_dirty_tree_is_not_published_unless_asked(
    ocbuild: Ocbuild, tree: Tree, registry: LocalRegistry, namespace: str
) -> None:
    commit = tree.commit()
    tree.write("README", "outside of the groups: no dirt\n")
    assert ocbuild("plan", "all", "--json").json["dirty"] is False
    tree.write("images/base/Dockerfile", (tree.root / "images/base/Dockerfile").read_text() + "\n")
    ended = ocbuild("all", "--push", "--report", "report.json")
    assert ended.code == 2
    assert "uncommitted edits" in ended.err
    assert (tree.root / "report.json").exists()
    ended = ocbuild("all", "--push", "--allow-dirty")
    assert ended.code == 0, ended.err
    assert release_tags(registry, f"{namespace}/base") == [f"1.0-{commit}-dirty"]


def test_a_registry_that_does_not_answer_ends_the_run_before_any_build(
    ocbuild: Ocbuild, tree: Tree
) -> None:
    tree.commit()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    ended = ocbuild("all", "--push", "--registry", f"127.0.0.1:{port}")
    assert ended.code == 4
    assert f"127.0.0.1:{port}" in ended.err
    assert not (tree.root / ".ocbuild/last-report.json").exists()


def test_no_engine_is_exit_code_3_with_what_to_do(ocbuild: Ocbuild, tree: Tree) -> None:
    tree.commit()
    ended = ocbuild("all", env={"DOCKER_HOST": "unix:///nowhere/docker.sock"})
    assert ended.code == 3
    assert "hint:" in ended.err


def test_the_embedded_registry_is_started_when_a_push_needs_it(
    ocbuild: Ocbuild, tmp_path: Path
) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    assert ocbuild("registry", "status", "--address", address).code == 4
    started = ocbuild("registry", "start", "--address", address)
    try:
        assert started.code == 0, started.err
        status = ocbuild("registry", "status", "--address", address, "--json").json
        assert status["running"] is True
        assert Path(status["data"]).is_relative_to(tmp_path / "state")
    finally:
        stopped = ocbuild("registry", "stop", "--address", address)
    assert stopped.code == 0
    assert ocbuild("registry", "status", "--address", address).code == 4
