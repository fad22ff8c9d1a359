"""Releases are kept in a real registry as small artifacts."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from msgspec.structs import replace

from builder.core.errors import PublishError
from builder.publish.write import Releases
from tests.support.client import make_client
from tests.support.registry import LocalRegistry
from tests.unit.core.test_release import RELEASE

pytestmark = pytest.mark.engine


@pytest.fixture(scope="module")
def releases() -> Iterator[Releases]:
    with LocalRegistry() as started, make_client() as client:
        yield Releases(client, host=started.address, namespace="acme")


def test_a_release_is_found_under_its_tag_and_the_moving_one(releases: Releases) -> None:
    assert releases.find("abcdef0") is None
    assert list(releases.tags()) == []
    place = releases.write(RELEASE, tags=("latest",))
    assert place.digest
    assert releases.find("abcdef0") == releases.find("latest") == RELEASE
    newer = replace(RELEASE, tag="abcdef1", previous="abcdef0")
    releases.write(newer, tags=("latest",))
    assert releases.find("latest") == newer
    assert sorted(releases.tags()) == ["abcdef0", "abcdef1", "latest"]
    with pytest.raises(PublishError, match="no release abcdef7") as caught:
        releases.read("abcdef7")
    assert caught.value.hint is not None
    assert "abcdef" in caught.value.hint
