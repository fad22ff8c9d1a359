"""What an image has is read in the engine, and then known without it."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pytest

from builder.core.packages.inventory import PATHS, Inventory, PackageSource, inventory_of
from builder.core.reference import Reference
from builder.docker.daemon import Daemon
from builder.publish import MadeImage
from builder.publish.inventories import Inventories, record as record_packages, tag_for
from builder.registry.client import Registry
from tests.support.client import make_client
from tests.support.engines import OURS, TEST_LABEL, connect, docker, remove_test_images
from tests.support.registry import LocalRegistry

pytestmark = pytest.mark.engine

STATUS = """\
Package: redis-server
Status: install ok installed
Architecture: amd64
Version: 1.0

Package: old
Status: deinstall ok config-files
Architecture: amd64
Version: 1.0
"""
SOURCES = """\
Types: deb deb-src
URIs: https://user:secret@mirror.example.org/debian/
Suites: trixie trixie-updates
Components: main
Signed-By: /usr/share/keyrings/key.gpg
"""


@pytest.fixture(scope="module")
def daemon() -> Iterator[Daemon]:
    found = connect()
    yield found
    remove_test_images()
    found.close()


@pytest.fixture(scope="module")
def registry() -> Iterator[LocalRegistry]:
    with LocalRegistry() as started:
        yield started


@pytest.fixture
def client() -> Iterator[Registry]:
    with make_client() as client:
        yield client


def build(name: str, folder: Path, files: dict[str, str]) -> None:
    """An image of these files and nothing else: no shell, no command."""
    for path, text in files.items():
        target = folder / "root" / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text, encoding="utf-8")
    (folder / "root/marker").write_text(uuid.uuid4().hex)
    text = f"FROM scratch\nCOPY root/ /\nLABEL {TEST_LABEL}={OURS}\n"
    (folder / "Dockerfile").write_text(text, encoding="utf-8")
    docker("build", "--quiet", "--tag", name, str(folder))


FILES = {
    "var/lib/dpkg/status": STATUS,
    "etc/apt/sources.list.d/debian.sources": SOURCES,
    "etc/apt/sources.list.d/debian.sources.disabled": SOURCES.replace("trixie", "sid"),
    "etc/apt/sources.list": "deb [trusted=yes] http://local.example.org ./\n# deb http://no x y\n",
    "etc/apt/auth.conf.d/secret.conf": "machine mirror.example.org login user password secret\n",
}


def test_packages_and_sources_are_read_from_an_image_that_could_not_even_run(
    daemon: Daemon, tmp_path: Path
) -> None:
    name = f"ocbuild-test/inventory:{OURS}"
    build(name, tmp_path, FILES)
    found = inventory_of(daemon.read_files(name, PATHS))
    assert [(one.id, one.version) for one in found.packages] == [("redis-server:amd64", "1.0")]
    assert found.sources == (
        PackageSource(uri="http://local.example.org", suite="./", trusted=True),
        PackageSource(uri="https://mirror.example.org/debian", suite="trixie", component="main"),
        PackageSource(
            uri="https://mirror.example.org/debian", suite="trixie-updates", component="main"
        ),
    )
    assert not found.pinned
    assert b"secret" not in found.as_bytes()
    assert docker("ps", "--all", "--quiet", "--filter", f"ancestor={name}") == ""


def test_preferences_are_noticed(daemon: Daemon, tmp_path: Path) -> None:
    name = f"ocbuild-test/pinned:{OURS}"
    pin = "Package: redis*\nPin: version 1.*\nPin-Priority: 900\n"
    build(name, tmp_path, {**FILES, "etc/apt/preferences.d/redis": pin})
    assert inventory_of(daemon.read_files(name, PATHS)).pinned


def test_an_image_without_dpkg_has_an_empty_inventory(daemon: Daemon, tmp_path: Path) -> None:
    name = f"ocbuild-test/empty:{OURS}"
    build(name, tmp_path, {"hello": "world"})
    assert inventory_of(daemon.read_files(name, PATHS)) == Inventory(dpkg=False)


def test_a_distroless_image_says_what_it_was_put_together_from(
    daemon: Daemon, tmp_path: Path
) -> None:
    name = f"ocbuild-test/distroless:{OURS}"
    files = {
        "var/lib/dpkg/status.d/libc6": "Package: libc6\nArchitecture: amd64\nVersion: 2.41\n",
        "var/lib/dpkg/status.d/libc6.md5sums": "0123  usr/lib/libc.so.6\n",
    }
    build(name, tmp_path, files)
    found = inventory_of(daemon.read_files(name, PATHS))
    assert found.dpkg
    assert [one.id for one in found.packages] == ["libc6:amd64"]


class Counting:
    """An engine that counts how often it is asked for files."""

    def __init__(self, daemon: Daemon) -> None:
        self.read_files_of: list[str] = []
        self._daemon = daemon

    def read_files(
        self, image: str, paths: Sequence[str], *, run_id: str = ""
    ) -> Mapping[str, bytes]:
        self.read_files_of.append(image)
        return self._daemon.read_files(image, paths, run_id=run_id)


def push(daemon: Daemon, registry: LocalRegistry, folder: Path) -> Reference:
    """Build and push an image with packages; where it is, by digest."""
    reference = Reference(path="acme/redis", registry=registry.address, tag="1")
    build(str(reference), folder, FILES)
    pushed = daemon.push(str(reference), lambda _current, _total: None)
    return reference.at(pushed.digest)


def made(published: Reference, base: str = "") -> MadeImage:
    local = published.with_tag("1")
    return MadeImage(name="redis", release=local, staged=local, local=str(local), base=base)


def test_an_image_is_read_once_and_its_record_lies_beside_it(
    daemon: Daemon, registry: LocalRegistry, client: Registry, tmp_path: Path
) -> None:
    published = push(daemon, registry, tmp_path)
    counting, inventories = Counting(daemon), Inventories(client)
    local = str(published.with_tag("1"))
    image = made(published, base="base")
    assert inventories.find(published) == ""
    assert record_packages(client, counting, image, published, hoped_for={}) == ()
    digest = inventories.find(published)
    assert tag_for(published.digest) in list(client.tags(published))
    assert record_packages(client, counting, image, published, hoped_for={}) == ()
    assert inventories.find(published) == digest
    assert counting.read_files_of == [local]
    record = inventories.read(published.at(digest))
    assert record is not None
    assert record.base == "base"
    assert record.inventory.packages[0].name == "redis-server"
    subject = client.manifest(published.at(digest)).body
    assert published.digest.encode() in subject


def test_what_was_hoped_for_in_vain_is_remembered(
    daemon: Daemon, registry: LocalRegistry, client: Registry, tmp_path: Path
) -> None:
    published = push(daemon, registry, tmp_path)
    inventories = Inventories(client)
    image, hoped_for = made(published), {"redis-server:amd64": "1.1", "gone:amd64": "9"}
    (line,) = record_packages(client, daemon, image, published, hoped_for=hoped_for)
    assert line.startswith("redis was made anew, and redis-server is still 1.0, not 1.1")
    record = inventories.read(published.at(inventories.find(published)))
    assert record is not None
    assert record.held == {"redis-server:amd64": "1.1"}
    came = {"redis-server:amd64": "1.0"}
    assert record_packages(client, daemon, image, published, hoped_for=came) == ()
    record = inventories.read(published.at(inventories.find(published)))
    assert record is not None
    assert record.held == {}


def test_a_record_that_is_gone_is_no_error(client: Registry, registry: LocalRegistry) -> None:
    gone = Reference(path="acme/redis", registry=registry.address, digest="sha256:" + "0" * 64)
    assert Inventories(client).read(gone) is None
