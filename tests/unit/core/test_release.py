"""A release is stored as JSON and comes back as the same value."""

from __future__ import annotations

import json

import pytest

from builder.core.errors import PublishError
from builder.core.release import Inputs, Release, ReleasedImage

NOVA = ReleasedImage(
    name="nova",
    path="acme/nova",
    tag="1.0-abcdef0",
    digest="sha256:" + "1" * 64,
    key="2" * 64,
    group="openstack",
    size=123,
    generation=2,
    inventory="sha256:" + "3" * 64,
    labels={"a": "b"},
    inputs=Inputs(
        recipe="r", setting="s", files={"f": "1"}, args={"A": "2"}, bases={"d": "3"}, parents=("p",)
    ),
)
RELEASE = Release(
    tag="abcdef0",
    project="acme",
    namespace="acme",
    commit="abcdef0" + "0" * 33,
    created="2025-01-31T12:00:00+00:00",
    branch="main",
    previous="1234567",
    images={"nova": NOVA},
    missing={"kafka": "RUN curl: failed with exit code 6"},
)


def test_a_release_comes_back_as_it_was_written() -> None:
    assert Release.from_bytes(RELEASE.as_bytes(), "here") == RELEASE


def test_what_a_newer_version_adds_is_passed_over() -> None:
    document = json.loads(RELEASE.as_bytes())
    document["new"] = document["images"]["nova"]["new"] = 1
    assert Release.from_bytes(json.dumps(document).encode(), "here") == RELEASE


@pytest.mark.parametrize("data", [b"", b"[]", b"{}", b'{"schema": 2}', b'{"schema": 1}', b"null"])
def test_what_is_no_release_is_refused_with_its_place(data: bytes) -> None:
    with pytest.raises(PublishError, match="reg/acme/release:x"):
        Release.from_bytes(data, "reg/acme/release:x")
