"""References are parsed once, printed as written, and refused with the part that is wrong."""

from __future__ import annotations

import pytest

from builder.core.reference import BadReferenceError, Reference

DIGEST = "sha256:" + "a" * 64


@pytest.mark.parametrize(
    ("text", "registry", "path", "tag", "digest"),
    [
        ("debian", "", "debian", "", ""),
        ("debian:12", "", "debian", "12", ""),
        (
            "michaelhenkel/analytics:3.0.1-e24cc66",
            "",
            "michaelhenkel/analytics",
            "3.0.1-e24cc66",
            "",
        ),
        ("localhost/x", "localhost", "x", "", ""),
        ("localhost:5000/x/y:1", "localhost:5000", "x/y", "1", ""),
        ("127.0.0.1:5000/x", "127.0.0.1:5000", "x", "", ""),
        ("[::1]:5000/x", "[::1]:5000", "x", "", ""),
        ("registry.example.com/a/b/c", "registry.example.com", "a/b/c", "", ""),
        (f"debian:12@{DIGEST}", "", "debian", "12", DIGEST),
        ("a__b/c--d/e.f", "", "a__b/c--d/e.f", "", ""),
    ],
)
def test_a_good_reference_is_split_and_printed_back(
    text: str, registry: str, path: str, tag: str, digest: str
) -> None:
    reference = Reference.parse(text)
    assert (reference.registry, reference.path) == (registry, path)
    assert (reference.tag, reference.digest) == (tag, digest)
    assert str(reference) == text


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "has no name"),
        (":1", "has no name"),
        ("Debian", 'lower case: "debian"'),
        ("a//b", '"" is no repository name'),
        ("a:b:c", '"a:b" is no repository name'),
        ("a:.x", '".x" is no tag'),
        ("a:", '"" is no tag'),
        ("a@sha256:12", '"sha256:12" is no digest'),
        ("-x.y:5/a", '"-x.y:5" is no registry host'),
        ("a b", '"a b" is no repository name'),
    ],
)
def test_a_bad_reference_is_refused_with_the_part_that_is_wrong(text: str, says: str) -> None:
    with pytest.raises(BadReferenceError) as caught:
        Reference.parse(text)
    assert says in str(caught.value)


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("debian", "docker.io/library/debian:latest"),
        ("docker.io/debian:12", "docker.io/library/debian:12"),
        ("index.docker.io/library/debian:12", "docker.io/library/debian:12"),
        ("a/b", "docker.io/a/b:latest"),
        (f"r.io/a@{DIGEST}", f"r.io/a@{DIGEST}"),
    ],
)
def test_two_spellings_of_one_image_share_a_canonical_form(text: str, canonical: str) -> None:
    assert Reference.parse(text).canonical == canonical


def test_name_and_namespace_are_the_ends_of_the_path() -> None:
    reference = Reference.parse("r.io/a/b/c:1")
    assert (reference.namespace, reference.name, reference.repository) == ("a/b", "c", "r.io/a/b/c")
    assert Reference.parse("c").namespace == ""


def test_a_new_tag_drops_the_digest_and_a_digest_the_tag() -> None:
    reference = Reference.parse(f"a:1@{DIGEST}")
    assert str(reference.with_tag("2")) == "a:2"
    assert str(reference.at(DIGEST)) == f"a@{DIGEST}"
    with pytest.raises(BadReferenceError, match="is no tag"):
        reference.with_tag("a/b")
