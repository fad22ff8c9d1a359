"""The doctor on this machine: nothing wrong, and one thing wrong at a time."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.e2e.conftest import Ocbuild, ask
from tests.support.registry import LocalRegistry
from tests.support.tree import Tree

pytestmark = [pytest.mark.e2e, pytest.mark.engine]


def bad(ocbuild: Ocbuild, *words: str, env: dict[str, str] | None = None) -> tuple[int, list[str]]:
    """The exit code, and the areas of the failures."""
    ended = ocbuild("doctor", "--json", *words, env=env)
    found = ended.json
    assert found["exit_code"] == ended.code
    assert all(one["remedy"] for one in found["findings"] if one["level"] == "failure")
    areas = [one["area"] for one in found["findings"] if one["level"] == "failure"]
    assert found["failures"] == len(areas)
    return ended.code, areas


def test_nothing_is_in_the_way_on_a_machine_that_builds(
    ocbuild: Ocbuild, tree: Tree, registry: LocalRegistry, namespace: str
) -> None:
    tree.commit()
    ended = ocbuild("doctor")
    assert ended.code == 0, ended.out
    assert "FAILURE" not in ended.out
    assert f"{registry.address} answers" in ended.out
    assert "we may write to" in ended.out
    # To have tried it left nothing there.
    assert f"{namespace}/release" not in ask(registry, "_catalog")[0]["repositories"]
    assert not (ocbuild.state / "deploy").exists()


def test_the_exit_code_says_what_cannot_be_done(
    ocbuild: Ocbuild, tree: Tree, tmp_path: Path
) -> None:
    tree.write("deploy/one.yml", "name: one\nservices: {}\n")
    toml = (tree.root / "build.toml").read_text()
    tree.write("build.toml", toml + '\n[deploy.stacks.one]\nfile = "deploy/one.yml"\n')
    tree.commit()
    nowhere = f"unix://{tmp_path}/no.sock"
    code, areas = bad(ocbuild, env={"DOCKER_HOST": nowhere})
    assert (code, areas[0]) == (3, "engine")
    far = f'deploy.hosts.far.docker="{nowhere}"'
    assert bad(ocbuild, "--set", far) == (5, ["hosts"])
    assert bad(ocbuild, "--registry", "127.0.0.1:9") == (4, ["registry"])
    with LocalRegistry(login=True) as guarded:
        closed = {"DOCKER_CONFIG": str(tmp_path)}
        assert bad(ocbuild, "--registry", guarded.address, env=closed) == (4, ["registry"])
    parent = 'deploy.networks.x={driver="macvlan",parent="nosuch0"}'
    assert bad(ocbuild, "--set", parent) == (5, ["kernel"])
    tree.image("lost", "FROM 127.0.0.1:9/nobody/nothing:1\n")
    tree.commit()
    assert bad(ocbuild) == (1, ["bases"])
    tree.write("build.toml", "[project]\nnamespce = 'x'\n")
    assert bad(ocbuild)[0] == 2
