"""The engine `assembler`: what it makes runs at once, and the registry gets it in few requests."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from builder.core.assemble import Refused
from builder.core.reference import Reference
from builder.core.schedule import RetryPolicy
from builder.docker.daemon import Daemon
from builder.engines.assembler import Assembler
from builder.engines.layer_cache import LayerIndexes
from builder.registry.client import Registry
from builder.system.resources import SystemClock
from tests.support.engines import BOX, OURS, TEST_LABEL, Outputs, box, connect, docker
from tests.support.registry import LocalRegistry, free_address
from tests.support.yard import Yard

pytestmark = pytest.mark.engine

MOST_REQUESTS = 5


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    found = connect()
    with box(tmp_path_factory.mktemp("box")):
        yield found
    found.close()


@pytest.fixture(scope="module")
def running(daemon: Daemon) -> Iterator[LocalRegistry]:
    """A registry that has the box as `base`."""
    with LocalRegistry() as registry:
        base = f"{registry.address}/assembler-test/base:{OURS}"
        docker("tag", BOX, base)
        docker("push", "--quiet", base)
        yield registry


@pytest.fixture(scope="module")
def address(running: LocalRegistry) -> str:
    return running.address


@pytest.fixture
def yard(daemon: Daemon, address: str, tmp_path: Path) -> Iterator[Yard]:
    found = Yard(daemon, address, tmp_path)
    yield found
    found.registry.close()


APP = "FROM base\nCOPY f /etc/f\nCMD cat /etc/f\n"


def test_an_image_runs_at_once_though_no_registry_has_it(yard: Yard) -> None:
    request = yard.request("app", APP)
    image = yard.make(request)
    assert docker("run", "--rm", request.tags[0]) == "first"
    assert docker("image", "inspect", "--format", "{{.Id}}", request.tags[0]) == image
    assert yard.registry.head(Reference.parse(yard.tag("app"))) is None


def test_what_is_stored_can_be_pulled_and_is_the_same_image(yard: Yard) -> None:
    request = yard.request("pulled", APP)
    image = yard.make(request)
    digest, uploaded, _ = yard.store(request)
    assert 0 < uploaded < 20_000
    docker("rmi", request.tags[0])
    docker("pull", "--quiet", request.tags[0])
    assert docker("image", "inspect", "--format", "{{.Id}}", request.tags[0]) == image
    found = yard.registry.head(Reference.parse(request.tags[0]))
    assert found is not None
    assert found.digest == digest


def test_a_changed_image_takes_five_requests_and_another_tag_takes_one(yard: Yard) -> None:
    yard.make(yard.request("few", APP))
    yard.store(yard.request("few", APP))  # with the base and its indexes
    changed = yard.request("few", APP + "ENV NEW=1\n")
    (yard.folder / "context/f").write_text("second\n", encoding="utf-8")
    yard.make(changed)
    digest, _, requests = yard.store(changed)
    assert requests <= MOST_REQUESTS
    again, uploaded, requests = yard.store(changed, f"{changed.tags[0]}-moving")
    assert (again, uploaded, requests) == (digest, 0, 1)


def test_what_is_lost_between_blobs_and_manifest_is_brought_again(
    yard: Yard, running: LocalRegistry
) -> None:
    request = yard.request("lost", APP)
    yard.make(request)
    assert yard.made[request.tags[0]].upload(Reference.parse(request.tags[0]))
    running.forget("assembler-test/lost")
    yard.store(request)
    docker("rmi", request.tags[0])
    docker("pull", "--quiet", request.tags[0])
    assert docker("run", "--rm", request.tags[0]) == "first"


def test_an_image_can_be_built_on_one_that_this_run_has_made(yard: Yard) -> None:
    app, child = yard.request("app", APP), yard.request("child", "FROM app\nCOPY f /etc/g\n")
    yard.make(app)
    yard.make(replace(child))
    assert docker("run", "--rm", child.tags[0], "cat", "/etc/f", "/etc/g") == "first\nfirst"
    yard.store(child)
    docker("rmi", child.tags[0])
    docker("pull", "--quiet", child.tags[0])


def test_a_stage_from_scratch_takes_files_of_a_layer_below(yard: Yard) -> None:
    text = 'FROM scratch\nCOPY --from=base /bin/busybox /busybox\nENTRYPOINT ["/busybox", "echo"]\n'
    request = yard.request("scratch", text)
    yard.make(request)
    assert docker("run", "--rm", request.tags[0], "well") == "well"


def test_a_base_that_no_registry_has_is_refused(yard: Yard) -> None:
    docker("build", "--quiet", "--tag", yard.tag("local"), "--label", f"{TEST_LABEL}={OURS}",
           "--file", str(yard.request("local", "FROM " + BOX + "\nENV ONLY=here\n").dockerfile),
           str(yard.folder / "context"))  # fmt: skip
    request = replace(yard.request("app", APP), contexts={"base": yard.tag("local")})
    with pytest.raises(Refused, match="no registry has"):
        yard.make(request)


def test_a_registry_that_does_not_answer_is_asked_once(yard: Yard, daemon: Daemon) -> None:
    gone = f"{free_address()}/assembler-test/base:{OURS}"
    docker("tag", BOX, gone)
    quick = Registry.connect(os.environ, clock=SystemClock(), retry=RetryPolicy(retries=0))
    engine = Assembler(daemon, quick, LayerIndexes(quick, None), platform="linux/amd64")
    for name in ("first", "second"):
        request = replace(yard.request(name, APP), contexts={"base": gone})
        with pytest.raises(Refused) as caught:
            engine.build(request, Outputs(), threading.Event())
        assert caught.value.reason == f"no registry has {gone} as the engine has it"
    assert quick.traffic.requests <= 1
    docker("rmi", gone)


def test_an_index_is_shared_beside_its_layer(yard: Yard) -> None:
    """Another machine takes it from the registry, and reads no layer through."""
    request = yard.request("shared", APP)
    yard.make(request)
    yard.store(request)
    base = Reference.parse(yard.tag("base"))
    layers = yard.registry.manifest(base).layers
    assert {f"index-{layer.digest[7:47]}" for layer in layers} <= set(yard.registry.tags(base))
    with Registry.connect(os.environ, clock=SystemClock()) as other:
        indexes = LayerIndexes(other, None)
        found = {path for layer in layers for path in indexes.of(base, layer).entries}
    assert "bin/busybox" in found
    assert other.traffic.received < 200_000 < sum(layer.size for layer in layers)
