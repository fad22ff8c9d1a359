"""Services run the images of a release by digest, and none that is not in it."""

from __future__ import annotations

from typing import Any

import pytest

from builder.core.deploy.projects import pinned, variables
from builder.core.errors import DeployError
from builder.core.release import Inputs, Release, ReleasedImage

REGISTRY = "registry.example.com"
DIGEST = "sha256:" + "ab" * 32


def release(*names: str, missing: dict[str, str] | None = None) -> Release:
    return Release(
        tag="r1",
        project="cloud",
        namespace="cloud",
        commit="e24cc66",
        created="2026-01-02T03:04:05Z",
        images={
            name: ReleasedImage(
                name=name,
                path=f"cloud/{name}",
                tag="2025.1-e24cc66",
                digest=DIGEST,
                key="k",
                group="openstack",
                inputs=Inputs(recipe="r"),
            )
            for name in names
        },
        missing=missing or {},
    )


def stack(**images: str) -> dict[str, Any]:
    return {"name": "cloud-x", "services": {name: {"image": text} for name, text in images.items()}}


def test_compose_files_are_told_registry_namespace_and_the_tag_of_each_group() -> None:
    assert variables(release("keystone"), REGISTRY) == {
        "REGISTRY": REGISTRY,
        "NAMESPACE": "cloud",
        "TAG_OPENSTACK": "2025.1-e24cc66",
    }


def test_a_service_is_pinned_to_the_digest_whatever_its_tag() -> None:
    compose = stack(api=f"{REGISTRY}/cloud/keystone:old")
    pins = pinned("keystone", compose, release("keystone"), REGISTRY)
    assert pins == {"api": f"{REGISTRY}/cloud/keystone@{DIGEST}"}


def test_an_image_of_somebody_else_stays_as_it_is() -> None:
    # One of another registry is somebody else's, though its path is that of one of ours.
    compose = stack(proxy="docker.io/library/haproxy:3.0", other="r.example.org/cloud/keystone:1")
    assert pinned("front", compose, release("keystone"), REGISTRY) == {}


def test_all_images_that_the_release_lacks_are_named_together() -> None:
    compose = stack(a=f"{REGISTRY}/cloud/keyston:x", b=f"{REGISTRY}/cloud/glance:x")
    with pytest.raises(DeployError) as caught:
        pinned("keystone", compose, release("keystone"), REGISTRY)
    assert caught.value.message == "stack keystone: glance, keyston are not in the release r1"
    assert caught.value.exit_code == 5


def test_a_name_that_is_nearly_right_is_suggested() -> None:
    compose = stack(a=f"{REGISTRY}/cloud/keyston:x")
    with pytest.raises(DeployError) as caught:
        pinned("keystone", compose, release("keystone"), REGISTRY)
    assert caught.value.hint == 'did you mean "keystone"?'


def test_an_optional_image_that_was_left_out_is_explained() -> None:
    made = release("keystone", missing={"kafka": "Maven is out of reach"})
    with pytest.raises(DeployError) as caught:
        pinned("database", stack(kafka=f"{REGISTRY}/cloud/kafka:x"), made, REGISTRY)
    assert caught.value.hint == "kafka was left out: Maven is out of reach"


def test_a_reference_with_an_unset_variable_in_it_is_refused() -> None:
    with pytest.raises(DeployError, match="which is no reference"):
        pinned("keystone", stack(api="//keystone:"), release("keystone"), REGISTRY)
