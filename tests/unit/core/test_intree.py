"""The in-tree rule: when a name in a Dockerfile means one of our images."""

from __future__ import annotations

import pytest

from builder.core.errors import Location, UnknownBaseError
from builder.core.image import InTreeNames

IMAGES = ("analytics", "debian", "nova")
HERE = Location("contrail/analytics-api/Dockerfile", 1)
NAMES = InTreeNames(
    namespace="acme/cloud",
    registry="registry.example.com:5000",
    aliases=frozenset({"michaelhenkel"}),
    redirects={"acme/cloud/moved:1": "docker-image://elsewhere/moved:2"},
)


def image_for(text: str, asked_by: str = "analytics-api") -> str | None:
    return NAMES.image_for(text, asked_by=asked_by, images=IMAGES, where=HERE)


@pytest.mark.parametrize(
    ("text", "image"),
    [
        ("analytics", "analytics"),
        ("acme/cloud/analytics", "analytics"),
        ("acme/cloud/analytics:any-tag", "analytics"),
        ("registry.example.com:5000/acme/cloud/analytics:1", "analytics"),
        ("michaelhenkel/analytics:3.0.1-e24cc66", "analytics"),
        ("quay.io/michaelhenkel/analytics:1", "analytics"),
        # A bare name with a tag or a digest is the Hub's.
        ("debian:12", None),
        ("analytics@sha256:" + "a" * 64, None),
        # Our namespace on a registry that is not ours.
        ("other.example.com/acme/cloud/analytics:1", None),
        ("cloud/analytics", None),
        ("ubuntu", None),
        ("acme/cloud/moved:1", None),
    ],
)
def test_what_a_name_means(text: str, image: str | None) -> None:
    assert image_for(text) == image


def test_a_bare_name_never_means_the_image_that_names_it() -> None:
    assert image_for("debian", asked_by="debian") is None
    assert image_for("debian", asked_by="nova") == "debian"


@pytest.mark.parametrize("text", ["acme/cloud/analytisc:1", "michaelhenkel/analytisc"])
def test_a_name_in_our_namespace_that_is_no_image_is_an_error(text: str) -> None:
    with pytest.raises(UnknownBaseError) as caught:
        image_for(text)
    assert str(caught.value).startswith("contrail/analytics-api/Dockerfile:1: ")
    assert 'did you mean "analytics"?' in str(caught.value)


def test_what_is_no_reference_is_an_error_at_its_line() -> None:
    with pytest.raises(UnknownBaseError, match=r"Dockerfile:1: .*is no repository name"):
        image_for("Not A Name")
