"""What a Docker Engine does with its images: the pretended one and the real one."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from msgspec import Struct

from builder.core.engine.answers import LocalImage
from builder.core.engine.messages import PushFailedError
from builder.core.errors import BuildError
from builder.docker.daemon import Daemon
from tests.contract.conftest import real
from tests.support.engines import FakeImages, box, connect
from tests.support.registry import LocalRegistry


class Engine(Struct, frozen=True):
    """An engine with one image under a name that no other test has, and a registry to push to."""

    images: FakeImages | Daemon
    name: str
    registry: str

    @property
    def image(self) -> LocalImage:
        image = self.images.inspect(self.name)
        assert image is not None
        return image

    def other(self, tag: str) -> str:
        return f"{self.registry}/{self.name.partition(':')[0]}:{tag}"

    def push(self, reference: str) -> tuple[str, int]:
        amounts: list[tuple[int, int]] = []
        pushed = self.images.push(reference, lambda *of: amounts.append(of), threading.Event())
        assert all(0 <= done <= whole for done, whole in amounts)
        return pushed.digest, pushed.uploaded


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    daemon = connect()
    with box(tmp_path_factory.mktemp("box")):
        yield daemon
    daemon.close()


@pytest.fixture(scope="module")
def registry() -> Iterator[str]:
    with LocalRegistry() as registry:
        yield registry.address


@pytest.fixture(params=["fake", *real("docker")])
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Engine]:
    name = f"ocbuild-test/contract-{secrets.token_hex(4)}:1"
    if request.param == "fake":
        images = FakeImages({name: LocalImage(id=f"sha256:{'1' * 64}", size=7)})
        yield Engine(images, name, "registry.example:5000")
        return
    daemon: Daemon = request.getfixturevalue("daemon")
    id_ = daemon.import_rootfs(Path("/dev/null"), name, [f"LABEL of={name}"])
    assert id_
    engine = Engine(daemon, name, request.getfixturevalue("registry"))
    yield engine
    for each in (name, engine.other("1"), engine.other("2")):
        daemon.untag(each)


def test_an_image_is_found_by_its_name_and_by_its_id(engine: Engine) -> None:
    assert engine.images.inspect(engine.image.id) == engine.image
    assert engine.images.inspect(engine.other("1")) is None


def test_another_name_is_for_the_same_image_and_moves(engine: Engine) -> None:
    engine.images.tag(engine.name, engine.other("1"))
    engine.images.tag(engine.image.id, engine.other("2"))
    for tag in "12":
        other = engine.images.inspect(engine.other(tag))
        assert other is not None
        assert other.id == engine.image.id


def test_an_image_goes_with_its_last_name(engine: Engine) -> None:
    id_ = engine.image.id
    engine.images.tag(engine.name, engine.other("1"))
    engine.images.untag(engine.name)
    assert engine.images.inspect(engine.name) is None
    assert engine.images.inspect(id_) is not None
    engine.images.untag(engine.other("1"))
    assert engine.images.inspect(id_) is None
    engine.images.untag(engine.other("1"))  # is no error


def test_what_is_not_there_gets_no_name(engine: Engine) -> None:
    with pytest.raises(BuildError):
        engine.images.tag(engine.other("2"), engine.other("1"))


def test_a_push_gives_the_digest_by_which_it_can_be_pulled(engine: Engine) -> None:
    engine.images.tag(engine.name, engine.other("1"))
    digest, _ = engine.push(engine.other("1"))
    assert digest.startswith("sha256:")
    assert engine.push(engine.other("1")) == (digest, 0)
    id_ = engine.image.id
    for name in (engine.name, engine.other("1")):
        engine.images.untag(name)
    assert engine.images.inspect(engine.other("1")) is None
    engine.images.pull(engine.other("1"), cancel=threading.Event())
    pulled = engine.images.inspect(engine.other("1"))
    assert pulled is not None
    assert pulled.id == id_
    assert [digest for each in pulled.repo_digests if each.endswith(digest)]


def test_a_name_that_is_not_there_is_not_pushed(engine: Engine) -> None:
    with pytest.raises(PushFailedError, match="cannot push"):
        engine.push(engine.other("2"))


def test_what_no_registry_has_is_not_pulled(engine: Engine) -> None:
    with pytest.raises(BuildError, match="cannot pull"):
        engine.images.pull(engine.other("2"), cancel=threading.Event())
