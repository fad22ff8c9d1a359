"""What registries do for our client: the one in memory, and the one that ocbuild starts."""

from __future__ import annotations

import http.client
import json
import secrets
from collections.abc import Iterator

import pytest
from msgspec import Struct

from builder.core.reference import Reference
from builder.core.registry_content import (
    DOCKER_LIST,
    DOCKER_MANIFEST,
    OCI_INDEX,
    OCI_MANIFEST,
    Content,
    digest_of,
)
from builder.core.registry_faults import BlobsMissingError, NotFoundError, RegistryError
from builder.publish.write import Releases
from builder.registry.blobs import Stored
from builder.registry.client import Registry
from builder.registry.embedded import EmbeddedRegistry
from tests.contract.conftest import real
from tests.support.client import make_client
from tests.support.images import make_image, make_index
from tests.support.memory_registry import MemoryRegistry
from tests.support.registry import free_address
from tests.support.releases import publish

NOWHERE = f"sha256:{'0' * 64}"


class Place(Struct, frozen=True):
    """A client, and a tag in a repository that no other test uses."""

    client: Registry
    image: Reference

    @property
    def elsewhere(self) -> Reference:
        """The same in another repository."""
        return Reference(
            registry=self.image.registry, path=f"{self.image.path}-2", tag=self.image.tag
        )


@pytest.fixture(scope="module")
def embedded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    registry = EmbeddedRegistry(state=tmp_path_factory.mktemp("state"), address=free_address())
    registry.start()
    yield registry.address
    registry.stop()


@pytest.fixture(params=["memory", *real("embedded")])
def host(request: pytest.FixtureRequest) -> Iterator[str]:
    if request.param == "memory":
        with MemoryRegistry() as registry:
            yield registry.address
    else:
        yield request.getfixturevalue("embedded")


@pytest.fixture
def place(host: str) -> Iterator[Place]:
    image = Reference(registry=host, path=f"tests/{secrets.token_hex(6)}", tag="1.0")
    with make_client() as client:
        yield Place(client, image)


def test_it_answers(place: Place) -> None:
    place.client.check(str(place.image.registry))
    place.client.blobs.try_to_write(place.image)


@pytest.mark.parametrize("kind", [OCI_MANIFEST, DOCKER_MANIFEST])
def test_manifests_come_back_byte_for_byte(place: Place, kind: str) -> None:
    made = make_image(kind)
    made.put(place.client, place.image)
    for reference in (place.image, place.image.at(made.manifest.digest)):
        assert place.client.manifest(reference).body == made.manifest.body
        assert place.client.head(reference) == made.manifest.descriptor
    for blob in made.manifest.layers:
        assert digest_of(place.client.blobs.read(place.image, blob)) == blob.digest


@pytest.mark.parametrize("kind", [OCI_INDEX, DOCKER_LIST])
def test_an_index_needs_its_manifests(place: Place, kind: str) -> None:
    images = [make_image(OCI_MANIFEST if kind == OCI_INDEX else DOCKER_MANIFEST) for _ in "12"]
    index = make_index(images, kind)
    with pytest.raises(RegistryError):
        place.client.put(place.image, index.manifest)
    for made in images:
        made.put(place.client, place.image.at(made.manifest.digest))
    place.client.put(place.image, index.manifest)
    assert place.client.manifest(place.image).body == index.manifest.body


def test_what_is_not_there_is_none_to_a_look_and_an_error_to_a_reader(place: Place) -> None:
    for image in (place.image, place.image.at(NOWHERE)):
        assert place.client.head(image) is None
        with pytest.raises(NotFoundError):
            place.client.manifest(image)
    assert not place.client.blobs.exists(place.image, NOWHERE)
    with pytest.raises(NotFoundError):
        list(place.client.tags(place.image))
    with pytest.raises(NotFoundError):
        place.client.delete(place.image.at(NOWHERE))


def test_a_manifest_whose_blobs_are_missing_is_refused(place: Place) -> None:
    with pytest.raises(BlobsMissingError):
        place.client.put(place.image, make_image().manifest)
    assert place.client.head(place.image) is None


def test_a_tag_moves(place: Place) -> None:
    first, second = make_image(), make_image()
    for made in (first, second):
        made.put(place.client, place.image)
    assert place.client.head(place.image) == second.manifest.descriptor
    assert place.client.head(place.image.at(first.manifest.digest)) == first.manifest.descriptor


def test_tags_are_listed_and_go_with_their_manifest(place: Place) -> None:
    first, second = make_image(), make_image()
    for tag, made in (("b", first), ("a", second), ("c", first)):
        made.put(place.client, place.image.with_tag(tag))
    assert sorted(place.client.tags(place.image)) == ["a", "b", "c"]
    assert place.image.path in place.client.catalog(str(place.image.registry))
    place.client.delete(place.image.at(first.manifest.digest))
    assert list(place.client.tags(place.image)) == ["a"]
    assert place.client.head(place.image.with_tag("b")) is None
    assert place.client.head(place.image.at(first.manifest.digest)) is None


def test_a_blob_is_there_once_it_is_uploaded(place: Place) -> None:
    blob = Content.of(secrets.token_bytes(1000))
    assert place.client.blobs.put(place.image, blob) is Stored.UPLOADED
    assert place.client.blobs.put(place.image, blob) is Stored.EXISTED
    assert place.client.blobs.put(place.image, blob, look=False) is Stored.UPLOADED
    assert not place.client.blobs.exists(place.elsewhere, blob.digest)


def test_wrong_bytes_under_a_digest_are_refused(place: Place) -> None:
    right = Content.of(b"right")
    wrong = Content(digest=right.digest, size=5, open=Content.of(b"wrong").open)
    with pytest.raises(RegistryError):
        place.client.blobs.put(place.image, wrong)
    assert not place.client.blobs.exists(place.image, right.digest)


def test_a_blob_is_mounted_from_where_it_is_or_uploaded(place: Place) -> None:
    blob = Content.of(secrets.token_bytes(10))
    elsewhere = place.elsewhere
    assert not place.client.blobs.mount(elsewhere, blob.digest, place.image)
    put = place.client.blobs.put
    assert put(elsewhere, blob, mount_from=place.image) is Stored.UPLOADED
    assert put(place.image, blob, mount_from=elsewhere) is Stored.MOUNTED
    assert place.client.blobs.exists(place.image, blob.digest)


def test_a_copy_within_it_moves_no_blob(place: Place) -> None:
    made = make_image()
    made.put(place.client, place.image)
    place.client.copy(place.image, place.elsewhere)
    assert place.client.manifest(place.elsewhere).body == made.manifest.body
    for blob in made.manifest.layers:
        assert place.client.blobs.exists(place.elsewhere, blob.digest)


def test_a_release_is_read_as_it_was_written(place: Place, host: str) -> None:
    namespace = f"n{secrets.token_hex(4)}"
    release = publish(place.client, host, {"app": make_image()}, namespace=namespace)
    releases = Releases(place.client, host=host, namespace=namespace)
    assert releases.read("latest") == releases.read(release.tag) == release
    assert sorted(releases.tags()) == [release.tag, "latest"]


# What a client of ours could pass over: the method, what follows the repository, and what comes.
ANSWERS = (
    ("GET", "manifests/none", 404, "MANIFEST_UNKNOWN"),
    ("GET", f"manifests/{NOWHERE}", 404, "MANIFEST_UNKNOWN"),
    ("GET", f"blobs/{NOWHERE}", 404, "BLOB_UNKNOWN"),
    ("GET", "tags/list", 404, "NAME_UNKNOWN"),
    ("PUT", f"blobs/uploads/none?digest={NOWHERE}", 404, "BLOB_UPLOAD_INVALID"),
    ("DELETE", f"manifests/{NOWHERE}", 404, "MANIFEST_UNKNOWN"),
)


@pytest.mark.parametrize(("method", "target", "status", "code"), ANSWERS)
def test_an_error_has_its_status_and_its_code(
    place: Place, method: str, target: str, status: int, code: str
) -> None:
    answer = ask(place, method, target)
    assert answer.status == status
    assert [each["code"] for each in json.loads(answer.body)["errors"]] == [code]


def test_an_answer_has_the_headers_that_clients_go_by(place: Place) -> None:
    made = make_image()
    made.put(place.client, place.image)
    digest, (layer, *_) = made.manifest.digest, made.manifest.layers
    for method, body in (("GET", made.manifest.body), ("HEAD", b"")):
        answer = ask(place, method, f"manifests/{place.image.tag}")
        assert (answer.status, answer.body) == (200, body)
        assert answer.headers["Content-Type"] == made.manifest.media_type
        assert answer.headers["Docker-Content-Digest"] == digest
        assert answer.headers["Content-Length"] == str(len(made.manifest.body))
    answer = ask(place, "HEAD", f"blobs/{layer.digest}")
    assert answer.headers["Content-Length"] == str(layer.size)
    started = ask(place, "POST", "blobs/uploads/")
    assert started.status == 202
    assert f"/v2/{place.image.path}/blobs/uploads/" in started.headers["Location"]
    mounted = ask(place, "POST", f"blobs/uploads/?mount={layer.digest}&from={place.image.path}")
    assert mounted.status == 201
    assert mounted.headers["Docker-Content-Digest"] == layer.digest
    assert ask(place, "DELETE", f"manifests/{digest}").status == 202


class Answer(Struct, frozen=True):
    status: int
    headers: http.client.HTTPMessage
    body: bytes


def ask(place: Place, method: str, target: str) -> Answer:
    connection = http.client.HTTPConnection(str(place.image.registry), timeout=10)
    try:
        accept = {"Accept": f"{OCI_MANIFEST}, {DOCKER_MANIFEST}"}
        connection.request(method, f"/v2/{place.image.path}/{target}", headers=accept)
        answer = connection.getresponse()
        return Answer(answer.status, answer.headers, answer.read())
    finally:
        connection.close()
