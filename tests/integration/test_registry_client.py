"""The client against the distribution project's registry: manifests, blobs, lists, copies."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from builder.core.reference import Reference
from builder.core.registry_content import (
    DOCKER_LIST,
    DOCKER_MANIFEST,
    OCI_INDEX,
    OCI_MANIFEST,
    Content,
    Descriptor,
    digest_of,
)
from builder.core.registry_faults import (
    BlobsMissingError,
    DigestMismatchError,
    NotFoundError,
    RefusedError,
    UnreachableError,
)
from builder.docker.settings import Login
from builder.registry.blobs import Stored
from builder.registry.client import Registry
from tests.support.client import make_client
from tests.support.images import content_of, make_image, make_index
from tests.support.registry import PASSWORD, USER, LocalRegistry
from tests.support.secure_registry import SecureRegistry
from tests.support.web import Asked, Say, Web

pytestmark = pytest.mark.engine


@pytest.fixture(scope="module")
def host() -> Iterator[str]:
    with LocalRegistry() as registry:
        yield registry.address


@pytest.fixture
def client() -> Iterator[Registry]:
    with make_client() as client:
        yield client


@pytest.fixture
def image(host: str) -> Reference:
    """A tag in a repository that no other test uses."""
    return Reference(registry=host, path=f"tests/{secrets.token_hex(6)}", tag="1.0")


def test_a_registry_that_answers_passes_the_check(client: Registry, host: str) -> None:
    client.check(host)
    assert client.traffic.requests == 1


@pytest.mark.parametrize("kind", [OCI_MANIFEST, DOCKER_MANIFEST, OCI_INDEX, DOCKER_LIST])
def test_all_kinds_of_manifests_come_back_byte_for_byte(
    client: Registry, image: Reference, kind: str
) -> None:
    made = make_image(kind if kind in (OCI_MANIFEST, DOCKER_MANIFEST) else OCI_MANIFEST)
    made.put(client, image)
    if kind in (OCI_INDEX, DOCKER_LIST):
        made = make_index([made], kind)
        client.put(image, made.manifest)
    assert client.head(image) == made.manifest.descriptor
    for name in (image, image.at(made.manifest.digest)):
        assert client.manifest(name) == made.manifest
        assert client.manifest(name).body == made.manifest.body


def test_what_is_not_there_is_none_to_a_look_and_an_error_to_a_reader(
    client: Registry, image: Reference
) -> None:
    assert client.head(image) is None
    assert not client.blobs.exists(image, digest_of(b""))
    with pytest.raises(NotFoundError, match="no such tag or manifest"):
        client.manifest(image)
    with pytest.raises(NotFoundError, match="no such repository"):
        list(client.tags(image))
    with pytest.raises(NotFoundError, match="no such blob"):
        client.blobs.open(image, digest_of(b""))


def test_a_retag_is_one_request_with_the_same_bytes(client: Registry, image: Reference) -> None:
    made = make_image()
    made.put(client, image)
    before = client.traffic
    client.put(image.with_tag("2.0"), made.manifest)
    assert client.traffic.requests == before.requests + 1
    assert client.traffic.sent == before.sent + len(made.manifest.body)
    assert client.retag(image, "3.0") == made.manifest.descriptor
    for tag in ("2.0", "3.0"):
        assert client.head(image.with_tag(tag)) == made.manifest.descriptor


def test_a_manifest_whose_blobs_are_missing_is_refused(client: Registry, image: Reference) -> None:
    with pytest.raises(BlobsMissingError, match="lacks blobs"):
        client.put(image, make_image().manifest)


def test_a_manifest_can_be_pushed_by_its_digest_alone(client: Registry, image: Reference) -> None:
    made = make_image()
    by_digest = image.at(made.manifest.digest)
    made.put(client, by_digest)
    assert client.head(by_digest) == made.manifest.descriptor
    assert client.head(image) is None


def test_a_blob_is_uploaded_once(client: Registry, image: Reference) -> None:
    content = Content.of(secrets.token_bytes(300_000))
    assert client.blobs.put(image, content) is Stored.UPLOADED
    assert client.traffic.sent == content.size
    assert client.blobs.put(image, content) is Stored.EXISTED
    assert client.traffic.sent == content.size
    blob = Descriptor(media_type="", digest=content.digest, size=content.size)
    with content.open() as source:
        assert client.blobs.read(image, blob) == source.read()


@pytest.mark.parametrize("size", [0, 1, (1 << 17), (1 << 17) + 1, 5_000_000])
def test_a_file_of_any_size_goes_up_and_comes_down(
    client: Registry, image: Reference, tmp_path: Path, size: int
) -> None:
    file = tmp_path / "layer"
    file.write_bytes(secrets.token_bytes(size))
    content = content_of(file)
    client.blobs.put(image, content)
    with client.blobs.open(image, content.digest) as reader:
        assert reader.read() == file.read_bytes()
    assert client.traffic.received >= size


def test_wrong_bytes_under_a_digest_are_refused_by_the_registry(
    client: Registry, image: Reference
) -> None:
    wrong = Content(digest=digest_of(b"x"), size=1, open=Content.of(b"y").open)
    with pytest.raises(RefusedError, match="DIGEST_INVALID"):
        client.blobs.put(image, wrong)
    assert not client.blobs.exists(image, wrong.digest)


def test_a_mount_sends_no_byte(client: Registry, image: Reference) -> None:
    content = Content.of(secrets.token_bytes(1000))
    source = Reference(registry=image.registry, path=f"{image.path}/base")
    client.blobs.put(source, content)
    sent = client.traffic.sent
    assert client.blobs.put(image, content, mount_from=source) is Stored.MOUNTED
    assert client.blobs.mount(Reference.parse(f"{image.repository}/x"), content.digest, source)
    assert client.traffic.sent == sent
    assert client.blobs.exists(image, content.digest)


def test_a_mount_of_what_is_not_there_becomes_an_upload(client: Registry, image: Reference) -> None:
    content = Content.of(secrets.token_bytes(1000))
    source = Reference(registry=image.registry, path=f"{image.path}/base")
    assert not client.blobs.mount(image, content.digest, source)
    assert client.blobs.put(image, content, mount_from=source) is Stored.UPLOADED
    assert client.blobs.exists(image, content.digest)


def test_the_catalog_is_read_page_by_page(
    client: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("builder.registry.client._PAGE", 3)
    names = [f"ns{number % 2}/image{number:02}" for number in range(10)]
    made = make_image()
    with LocalRegistry() as registry:
        for name in names:
            made.put(client, Reference(registry=registry.address, path=name, tag="1"))
        before = client.traffic.requests
        assert list(client.catalog(registry.address)) == sorted(names)
        assert client.traffic.requests - before == 4


def test_all_tags_of_a_repository_are_listed(client: Registry, image: Reference) -> None:
    made = make_image()
    made.put(client, image)
    for number in range(20):
        client.put(image.with_tag(f"t{number}"), made.manifest)
    assert sorted(client.tags(image)) == sorted(["1.0", *(f"t{n}" for n in range(20))])


def test_a_deleted_manifest_takes_its_tags_with_it(client: Registry, image: Reference) -> None:
    made = make_image()
    made.put(client, image)
    client.retag(image, "2.0")
    by_digest = image.at(made.manifest.digest)
    client.delete(by_digest)
    assert client.head(image) is None
    assert client.head(image.with_tag("2.0")) is None
    with pytest.raises(NotFoundError):
        client.delete(by_digest)


def test_many_threads_share_one_client(client: Registry, image: Reference) -> None:
    made = make_image()
    made.put(client, image)
    start = threading.Barrier(16)

    def work(number: int) -> bool:
        start.wait(timeout=30)
        tag = image.with_tag(f"t{number}")
        blob = Content.of(secrets.token_bytes(100_000))
        client.blobs.put(image, blob)
        found = Descriptor(media_type="", digest=blob.digest, size=blob.size)
        with blob.open() as source:
            same = client.blobs.read(image, found) == source.read()
        return same and client.put(tag, made.manifest) == client.head(tag)

    with ThreadPoolExecutor(16) as threads:
        assert list(threads.map(work, range(16))) == [True] * 16


# --- copies ---------------------------------------------------------------------------------------


def test_within_one_registry_a_copy_moves_no_blob(client: Registry, image: Reference) -> None:
    made = make_image(layers=3, size=100_000)
    made.put(client, image)
    before = client.traffic
    target = Reference.parse(f"{image.repository}/copy:1.0")
    assert client.copy(image, target) == made.manifest.descriptor
    assert client.traffic.sent - before.sent == len(made.manifest.body)
    assert client.traffic.received - before.received < 100_000
    assert client.manifest(target) == made.manifest


def test_between_registries_a_copy_takes_what_the_other_lacks(
    client: Registry, image: Reference
) -> None:
    made = make_image(layers=3, size=100_000)
    made.put(client, image)
    with LocalRegistry() as other:
        target = Reference(registry=other.address, path="promoted/app", tag="1.0")
        client.blobs.put(target, made.blobs[1])
        before = client.traffic
        client.copy(image, target)
        sent = client.traffic.sent - before.sent
        assert 200_000 < sent < 210_000
        assert client.manifest(target) == made.manifest
        for blob in made.blobs:
            assert client.blobs.exists(target, blob.digest)
        # A second one reads and compares; for another tag blobs are not looked at again.
        before = client.traffic
        client.copy(image, target)
        assert client.traffic.requests - before.requests == 2
        client.copy(image, target.with_tag("2.0"))
        assert client.traffic.requests - before.requests == 6
        assert client.traffic.sent - before.sent == len(made.manifest.body)


@pytest.mark.parametrize("kind", [OCI_INDEX, DOCKER_LIST])
def test_an_index_is_copied_with_all_its_manifests(
    client: Registry, image: Reference, kind: str
) -> None:
    images = [make_image(), make_image(DOCKER_MANIFEST)]
    for one in images:
        one.put(client, image.at(one.manifest.digest))
    index = make_index(images, kind).manifest
    client.put(image, index)
    with LocalRegistry() as other:
        target = Reference(registry=other.address, path="promoted/app", tag="1.0")
        assert client.copy(image, target) == index.descriptor
        for one in images:
            assert client.manifest(target.at(one.manifest.digest)) == one.manifest


def test_a_copy_without_a_tag_is_one_by_digest(client: Registry, image: Reference) -> None:
    made = make_image()
    made.put(client, image)
    target = Reference.parse(f"{image.repository}/copy")
    client.copy(image, target)
    assert client.head(target.at(made.manifest.digest)) == made.manifest.descriptor
    assert client.head(target.with_tag("latest")) is None


def test_within_one_repository_only_the_manifest_goes_over(
    client: Registry, image: Reference
) -> None:
    made = make_image()
    made.put(client, image)
    before = client.traffic.requests
    client.copy(image, image.with_tag("2.0"))
    assert client.traffic.requests - before == 3
    assert client.head(image.with_tag("2.0")) == made.manifest.descriptor


def test_a_tag_that_names_something_else_is_moved(client: Registry, image: Reference) -> None:
    old, new = make_image(), make_image()
    old.put(client, image)
    new.put(client, image.with_tag("2.0"))
    client.copy(image.with_tag("2.0"), image)
    assert client.head(image) == new.manifest.descriptor


# --- a registry that is not well ------------------------------------------------------------------


def test_a_blob_that_rotted_on_the_registrys_disk_is_not_passed_on() -> None:
    with SecureRegistry() as registry, LocalRegistry() as other, make_client() as client:
        image = Reference(registry=registry.address, path="ns/app", tag="1")
        made = make_image(layers=1, size=1000)
        made.put(client, image)
        layer = made.manifest.layers[0]
        (stored,) = registry.data.rglob(f"{layer.digest.removeprefix('sha256:')}/data")
        stored.write_bytes(b"x" * 1000)
        with pytest.raises(DigestMismatchError):
            client.blobs.read(image, layer)
        target = Reference(registry=other.address, path="ns/app", tag="1")
        with pytest.raises(RefusedError, match="DIGEST_INVALID"):
            client.copy(image, target)
        assert client.head(target) is None


def test_connections_that_the_registry_dropped_are_opened_anew() -> None:
    with LocalRegistry() as registry, make_client() as client:
        image = Reference(registry=registry.address, path="ns/app", tag="1")
        make_image().put(client, image)
        found = client.head(image)
        registry.stop()
        with pytest.raises(UnreachableError, match="nothing listens"):
            client.head(image)
        registry.start()
        assert client.head(image) == found


def test_readers_are_sent_to_object_storage_and_take_no_login_along() -> None:
    def answer(asked: Asked) -> Say:
        return Say(body=(registry.data / asked.path.lstrip("/")).read_bytes())

    login = Login(username=USER, password=PASSWORD)
    with Web(answer) as storage:
        registry = SecureRegistry(login=True, storage=f"http://{storage.address}")
        with registry, make_client(login=login) as client:
            image = Reference(registry=registry.address, path="ns/app", tag="1")
            made = make_image(layers=1)
            made.put(client, image)
            with made.blobs[1].open() as source:
                assert client.blobs.read(image, made.manifest.layers[0]) == source.read()
            assert storage.asked
            assert all("authorization" not in asked.headers for asked in storage.asked)
