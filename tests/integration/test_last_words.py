"""What is shown of a container that ends again and again: why it did, and not how it began anew."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from builder.core.settings.sections import Host
from builder.deploy.compose import DockerCommand
from tests.support.engines import BOX, TEST_LABEL, box, connect, docker, soon

pytestmark = pytest.mark.engine


@pytest.fixture(scope="module", autouse=True)
def _box(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    connect().close()
    with box(tmp_path_factory.mktemp("box")):
        yield


@pytest.fixture
def container(request: pytest.FixtureRequest) -> Iterator[str]:
    """Says that it begins; ends with its reason the first time, and stays the second time."""
    name = f"ocbuild-last-words-{os.getpid()}-{request.node.name[-8:]}"
    script = 'echo begin; [ -e /tmp/again ] && exec sleep 600; >/tmp/again; echo "no luck"; exit 1'
    words = ("--label", TEST_LABEL, "--restart", "on-failure", "--tmpfs", "/run")
    docker("run", "--detach", "--name", name, *words, BOX, "sh", "-c", script)
    try:
        yield name
    finally:
        docker("rm", "--force", name)


def test_the_words_before_the_last_start_are_shown(container: str) -> None:
    state = "{{.RestartCount}} {{.State.Running}}"
    soon(lambda: docker("inspect", "--format", state, container).split() == ["1", "true"])
    engine = DockerCommand(host=Host(name="here"), environ=os.environ)
    soon(lambda: docker("logs", container).splitlines().count("begin") == 2)
    assert engine.logs(container, tail=100) == ["begin", "no luck"]
    assert engine.logs(container, tail=1) == ["no luck"]


def test_of_one_that_is_gone_nothing_is_shown_but_why() -> None:
    engine = DockerCommand(host=Host(name="here"), environ=os.environ)
    assert "No such container" in " ".join(engine.logs("ocbuild-no-such-container", tail=5))
