"""Manifests: what is read from them, and what is refused."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest

from builder.core.registry_content import (
    DOCKER_LIST,
    DOCKER_MANIFEST,
    OCI_INDEX,
    OCI_MANIFEST,
    Content,
    Manifest,
    Verifier,
    digest_of,
)
from builder.core.registry_faults import DigestMismatchError, ProtocolError
from tests.support.images import content_of, make_image, make_index

HEX = "a" * 64
BLOB = {"mediaType": "application/x", "digest": f"sha256:{HEX}", "size": 3}


def body(**more: object) -> bytes:
    return json.dumps({"schemaVersion": 2, **more}).encode()


@pytest.mark.parametrize("kind", [OCI_MANIFEST, DOCKER_MANIFEST])
def test_a_manifest_names_its_config_and_its_layers(kind: str) -> None:
    made = make_image(kind, layers=2)
    again = Manifest.of(made.manifest.body, kind)
    assert not again.is_index
    assert again.config is not None
    named = [again.config.digest, *(layer.digest for layer in again.layers)]
    assert named == [blob.digest for blob in made.blobs]
    assert {blob.digest for blob in again.blobs} == set(named)
    assert again.descriptor.size == len(made.manifest.body)
    assert again.digest == digest_of(made.manifest.body)


@pytest.mark.parametrize("kind", [OCI_INDEX, DOCKER_LIST])
def test_an_index_names_its_manifests_and_their_platforms(kind: str) -> None:
    images = [make_image(), make_image(DOCKER_MANIFEST)]
    index = make_index(images, kind).manifest
    assert index.is_index
    assert [child.digest for child in index.manifests] == [one.manifest.digest for one in images]
    assert [child.platform for child in index.manifests] == ["linux/arm/v0", "linux/arm/v1"]
    assert index.blobs == ()


@pytest.mark.parametrize("said", ["", "application/json", "text/plain", OCI_MANIFEST])
def test_a_vague_type_gives_way_to_what_the_content_says(said: str) -> None:
    assert Manifest.of(body(mediaType=OCI_MANIFEST), said).media_type == OCI_MANIFEST


def test_oci_content_without_a_type_is_told_apart_by_what_it_holds() -> None:
    assert Manifest.of(body(config=BLOB, layers=[])).media_type == OCI_MANIFEST
    assert Manifest.of(body(manifests=[])).media_type == OCI_INDEX


def test_a_layer_that_is_there_twice_is_one_blob() -> None:
    assert len(Manifest.of(body(config=BLOB, layers=[BLOB, BLOB])).blobs) == 1


def test_layers_that_may_not_be_distributed_are_no_blobs_of_the_repository() -> None:
    kind = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"
    foreign = {**BLOB, "mediaType": kind}
    manifest = Manifest.of(body(layers=[foreign]))
    assert len(manifest.layers) == 1
    assert manifest.blobs == ()


def test_annotations_and_the_type_of_an_artifact_are_kept() -> None:
    manifest = Manifest.of(
        body(artifactType="application/vnd.x", annotations={"a": "b"}, layers=[])
    )
    assert (manifest.artifact_type, dict(manifest.annotations)) == ("application/vnd.x", {"a": "b"})


@pytest.mark.parametrize(
    ("content", "said", "reason"),
    [
        (b"<html>", "", "is no JSON"),
        (b"[]", "", "another shape: Expected `object`"),
        (b'{"schemaVersion": 1}', "", "obsolete schema 1"),
        (body(manifests=[], layers=[]), "", "a manifest and an index at once"),
        (body(mediaType=OCI_MANIFEST), DOCKER_MANIFEST, "calls itself"),
        (body(), "application/vnd.unheard-of", "no image manifest"),
        (body(mediaType=OCI_INDEX), "", "an index without manifests"),
        (body(manifests=[]), OCI_MANIFEST, "but is an index"),
        (body(layers={}), "", r"Expected `array.* at `\$\.layers`"),
        (body(layers=[1]), "", "Expected `object`, got `int`"),
        (body(layers=[{"digest": f"sha256:{HEX}"}]), "", "required field `size`"),
        (body(config={**BLOB, "size": -1}), "", "`int` >= 0"),
        (body(config={**BLOB, "digest": "sha256:../../x"}), "", "no digest that we can verify"),
        (body(config={**BLOB, "digest": f"md5:{HEX}"}), "", "no digest that we can verify"),
    ],
)
def test_what_is_no_manifest_is_refused(content: bytes, said: str, reason: str) -> None:
    with pytest.raises(ProtocolError, match=reason):
        Manifest.of(content, said)


@pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
def test_other_content_than_was_asked_for_is_refused(algorithm: str) -> None:
    digest = digest_of(body(layers=[]), algorithm)
    assert Manifest.of(body(layers=[]), digest=digest).digest == digest
    with pytest.raises(DigestMismatchError, match="instead of"):
        Manifest.of(body(layers=[], annotations={}), digest=digest)


def test_content_can_be_read_as_often_as_it_is_needed(tmp_path: Path) -> None:
    file = tmp_path / "blob"
    file.write_bytes(b"abc" * 1_000_000)
    for content in (content_of(file), Content.of(file.read_bytes())):
        assert (content.size, content.digest) == (3_000_000, digest_of(file.read_bytes()))
        for _ in range(2):
            with content.open() as source:
                assert source.read() == file.read_bytes()


def test_a_verifier_sees_one_wrong_byte() -> None:
    verifier = Verifier(digest_of(b"abc"), "what came")
    for block in io.BytesIO(b"abd"):
        verifier.feed(block)
    with pytest.raises(DigestMismatchError, match="what came has the digest"):
        verifier.finish()
