"""A promotion is planned from values: what moves, from where, and in which order."""

from __future__ import annotations

from builder.core.reference import Reference
from builder.core.registry_content import Descriptor, Manifest
from builder.publish.promote import BlobTransfer, WholeImage, moved, transfers
from tests.support.images import make_image
from tests.support.releases import layer, make_dated
from tests.unit.core.test_release import NOVA, RELEASE


def whole(name: str, *manifests: Manifest) -> WholeImage:
    return WholeImage(
        source=Reference(path=f"acme/{name}", registry="here"),
        target=Reference(path=f"prod/{name}", registry="there"),
        image=NOVA,
        manifests=manifests,
    )


def test_in_another_namespace_only_paths_differ() -> None:
    goal = moved(RELEASE, "prod/eu")
    assert goal.namespace == "prod/eu"
    assert goal.images["nova"].path == "prod/eu/nova"
    assert goal.images["nova"].digest == NOVA.digest
    assert moved(goal, "acme") == RELEASE


def test_in_the_same_namespace_a_release_keeps_its_bytes() -> None:
    assert moved(RELEASE, RELEASE.namespace).as_bytes() == RELEASE.as_bytes()


def test_what_most_images_share_comes_first_and_then_what_is_large() -> None:
    base, big, small = layer(500), layer(9000), layer(10)
    one = make_dated([base, big]).manifest
    two = make_dated([base, small]).manifest
    found = transfers([whole("one", one), whole("two", two)], {})
    assert [blob.blob.digest for blob in found][:2] == [base.digest, big.digest]
    assert [place.path for place in found[0].targets] == ["prod/one", "prod/two"]
    assert all(len(blob.targets) == 1 for blob in found[1:])
    # Two layers of their own, two configurations, one base.
    assert len(found) == 5


def test_a_blob_that_two_manifests_of_one_image_share_is_wanted_once() -> None:
    base = layer()
    made = [make_dated([base]).manifest, make_dated([base]).manifest]
    (first, *_) = transfers([whole("one", *made)], {})
    assert isinstance(first, BlobTransfer)
    assert first.blob.digest == base.digest
    assert [place.path for place in first.targets] == ["prod/one"]


def test_a_repository_that_has_a_blob_is_known_as_its_source() -> None:
    manifest = make_image(layers=1).manifest
    blob: Descriptor = manifest.layers[0]
    held = Reference(path="prod/base", registry="there")
    found = {one.blob.digest: one.held for one in transfers([whole("one", manifest)], {})}
    assert set(found.values()) == {None}
    found = {
        one.blob.digest: one.held
        for one in transfers([whole("one", manifest)], {blob.digest: held})
    }
    assert found[blob.digest] == held
