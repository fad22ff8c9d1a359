"""An engine that keeps its images in containerd builds beside the assembler, and on its images."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.conftest import Ocbuild, ask
from tests.support.registry import LocalRegistry
from tests.support.second_engine import SecondEngine
from tests.support.tree import Tree

pytestmark = [pytest.mark.e2e, pytest.mark.engine]


@pytest.fixture(scope="module")
def second() -> Iterator[SecondEngine]:
    with SecondEngine() as engine:
        yield engine


@pytest.fixture
def commit(ocbuild: Ocbuild, tree: Tree, second: SecondEngine) -> str:
    """A published tree: leaves and a middle without RUN, and a child with RUN on that; its commit.

    ``base`` and ``child`` have a RUN, so an engine builds them.
    """
    tree.image("middle", {"Dockerfile": "FROM base\nCOPY f /etc/f\nENV MIDDLE=1\n", "f": "first\n"})
    tree.image("child", "FROM middle\nRUN cp /etc/f /etc/g && echo $MIDDLE >> /etc/g\n")
    test = '\n[images.middle]\ntest = ["test -s /etc/f"]\n'
    tree.write("build.toml", (tree.root / "build.toml").read_text() + test)
    tree.image("leaf", "FROM child\nENV SAYS=leaf\nCMD cat /etc/g; echo $SAYS\n")
    tree.image("plain", {"Dockerfile": "FROM base\nCOPY f /p\nCMD cat /p\n", "f": "plain\n"})
    made = tree.commit()
    ended = ocbuild("all", "--push", env=second.environ)
    assert ended.code == 0, ended.err
    return made


def read(log: str | None) -> str:
    return Path(log).read_text() if log else ""


def run(second: SecondEngine, registry: LocalRegistry, namespace: str, tagged: str) -> str:
    """What the image of the registry prints; the engine has nothing of that name before."""
    name = f"{registry.address}/{namespace}/{tagged}"
    second.docker("image", "rm", "--force", name)
    second.docker("pull", "--quiet", name)
    return second.docker("run", "--rm", "--network", "none", name)


def test_it_runs_what_was_published(
    second: SecondEngine, registry: LocalRegistry, namespace: str, commit: str
) -> None:
    assert run(second, registry, namespace, f"leaf:1.0-{commit}") == "first\n1\nleaf"
    assert run(second, registry, namespace, f"plain:1.0-{commit}") == "plain"


@pytest.mark.usefixtures("commit")
def test_a_child_with_run_is_built_on_an_image_that_was_assembled(
    second: SecondEngine, registry: LocalRegistry, namespace: str, ocbuild: Ocbuild, tree: Tree
) -> None:
    """The engine takes the assembled parent from where it is, and builds on it."""
    tree.write("images/middle/f", "second\n")
    tree.write("images/plain/f", "other\n")
    commit = tree.commit()
    ended = ocbuild("all", "--push", env=second.environ)
    assert ended.code == 0, ended.err
    images = ocbuild.report()["images"]
    actions = {name: image["action"] for name, image in images.items()}
    assert actions["middle"] == actions["plain"] == "assemble"
    assert actions["child"] == "build"
    assert not [each for each in images.values() if "not by assembler" in read(each["log"])]
    assert run(second, registry, namespace, f"leaf:1.0-{commit}") == "second\n1\nleaf"
    parent, child = (
        ask(registry, f"{namespace}/{name}/manifests/1.0-{commit}")[0]["layers"]
        for name in ("middle", "child")
    )
    assert child[: len(parent)] == parent
