"""The command line of buildx redirects by name, carries no secret, and chooses the builder."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
from msgspec.structs import replace

from builder.core.bases import clashing, context_value, familiar, image_of
from builder.core.dockerfile.parse import parse
from builder.core.engine.request import buildx_arguments
from builder.core.reference import Reference
from builder.engines import BuildRequest, SecretSource

REQUEST = BuildRequest(
    image="app",
    parsed=parse(b"FROM x\n", "Dockerfile"),
    context=Path("/tree/app"),
    dockerfile=Path("/tree/app/Dockerfile"),
    dockerfile_label="app/Dockerfile",
    tags=("r/n/app:1", "r/n/app:2"),
)


def pairs(argv: list[str], option: str) -> list[str]:
    """The values that an option was given."""
    return [value for name, value in itertools.pairwise(argv) if name == option]


def argv(request: BuildRequest, builder: str = "default", **proxies: str) -> list[str]:
    return buildx_arguments(request, Path("/m.json"), builder=builder, proxies=proxies)


def test_a_plain_build_is_loaded_into_the_engine_by_the_contexts_own_builder() -> None:
    assert argv(REQUEST, builder="far") == [
        "docker",
        "buildx",
        "build",
        "--builder",
        "far",
        "--load",
        "--provenance=false",
        "--progress=rawjson",
        "--metadata-file",
        "/m.json",
        "--file",
        "/tree/app/Dockerfile",
        "--tag",
        "r/n/app:1",
        "--tag",
        "r/n/app:2",
        "--",
        "/tree/app",
    ]


def test_every_name_is_redirected_in_the_form_that_buildkit_looks_up() -> None:
    request = replace(
        REQUEST,
        contexts={
            "docker.io/library/debian:latest": "docker-image://r/debian@sha256:" + "a" * 64,
            "michaelhenkel/x:1": "127.0.0.1:5000/n/x:1",
            "files": "/srv/files",
        },
    )

    assert pairs(argv(request), "--build-context") == [
        "debian=docker-image://r/debian@sha256:" + "a" * 64,
        "files=/srv/files",
        "michaelhenkel/x:1=docker-image://127.0.0.1:5000/n/x:1",
    ]


def test_secrets_are_named_and_never_given() -> None:
    request = replace(
        REQUEST,
        secrets={
            "token": SecretSource(env="TOKEN"),
            "netrc": SecretSource(file=Path("/home/a,b/.netrc")),
        },
    )

    assert pairs(argv(request), "--secret") == [
        'id=netrc,"src=/home/a,b/.netrc"',
        "id=token,env=TOKEN",
    ]


def test_the_value_of_a_proxy_stays_out_of_the_command_line() -> None:
    request = replace(REQUEST, args={"HTTP_PROXY": "http://user:pw@proxy", "A": "b c"})

    assert pairs(argv(request), "--build-arg") == ["A=b c", "HTTP_PROXY"]
    assert not any("pw" in word for word in argv(request))


def test_what_the_docker_command_adds_by_itself_is_not_added_again() -> None:
    request = replace(REQUEST, args={"HTTP_PROXY": "http://theirs", "no_proxy": "x", "A": "b"})
    words = argv(request, HTTP_PROXY="http://theirs", no_proxy="y", ftp_proxy="z")

    assert pairs(words, "--build-arg") == ["A=b", "no_proxy"]


def test_all_other_settings_have_their_option() -> None:
    request = replace(
        REQUEST,
        target="builder",
        platform="linux/arm64",
        no_cache=True,
        labels={"a": "b=c"},
        features=frozenset({"ssh"}),
    )
    words = argv(request)

    assert pairs(words, "--target") == ["builder"]
    assert pairs(words, "--platform") == ["linux/arm64"]
    assert pairs(words, "--label") == ["a=b=c"]
    assert pairs(words, "--ssh") == ["default"]
    assert "--no-cache" in words


@pytest.mark.parametrize(
    ("name", "looked_up"),
    [
        ("debian", "debian"),
        ("debian:latest", "debian"),
        ("docker.io/library/debian:12", "debian:12"),
        ("index.docker.io/library/debian", "debian"),
        ("docker.io/team/app", "team/app"),
        ("team/app:1", "team/app:1"),
        ("localhost/app:latest", "localhost/app"),
        ("r:5000/team/app:1", "r:5000/team/app:1"),
        ("debian@sha256:" + "a" * 64, "debian@sha256:" + "a" * 64),
        ("Builder", "Builder"),
    ],
)
def test_names_are_compared_in_their_familiar_form(name: str, looked_up: str) -> None:
    assert familiar(name) == looked_up


@pytest.mark.parametrize(
    ("value", "full", "image"),
    [
        ("r/x:1", "docker-image://r/x:1", "r/x:1"),
        ("docker-image://r/x:1", "docker-image://r/x:1", "r/x:1"),
        ("/srv/files", "/srv/files", None),
        ("./files", "./files", None),
        ("https://x/y.git", "https://x/y.git", None),
        ("oci-layout:///srv/x", "oci-layout:///srv/x", None),
    ],
)
def test_a_plain_reference_stands_for_an_image(value: str, full: str, image: str | None) -> None:
    assert context_value(value) == full
    assert image_of(value) == image


@pytest.mark.parametrize(
    ("stages", "contexts", "clashes"),
    [
        ((), {"base": "x"}, ()),
        (("base",), {"base": "x"}, ("base",)),
        (
            ("base",),
            {"docker.io/library/base:latest": "x", "other": "y"},
            ("docker.io/library/base:latest",),
        ),
        (("nginx",), {"nginx:1.27": "x"}, ()),
        (("", "_"), {"base": "x"}, ()),
        ((), {"base": "x", "base:latest": "x"}, ()),
        ((), {"base": "x", "base:latest": "y", "b": "z"}, ("base", "base:latest")),
    ],
)
def test_a_context_must_not_have_the_name_of_a_stage_or_two_meanings(
    stages: tuple[str, ...], contexts: dict[str, str], clashes: tuple[str, ...]
) -> None:
    names = clashing(stages, contexts)
    assert tuple(names) == clashes
    assert len({names[text] for text in clashes}) == len({contexts[text] for text in clashes})
    assert all(Reference.parse(name) for name in names.values())
