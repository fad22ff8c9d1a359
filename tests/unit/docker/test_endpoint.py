"""The engine is the one that the docker command would talk to."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from builder.core.engine.answers import Endpoint
from builder.core.errors import EngineUnavailableError
from builder.docker.settings import docker_config, find_endpoint


def write_config(folder: Path, content: object) -> None:
    (folder / "config.json").write_text(json.dumps(content), encoding="utf-8")


def write_context(folder: Path, name: str, docker: object, *, certificates: bool = False) -> Path:
    identity = hashlib.sha256(name.encode()).hexdigest()
    meta = folder / "contexts" / "meta" / identity
    meta.mkdir(parents=True)
    content = {"Name": name, "Metadata": {}, "Endpoints": {"docker": docker}}
    (meta / "meta.json").write_text(json.dumps(content), encoding="utf-8")
    tls = folder / "contexts" / "tls" / identity / "docker"
    if certificates:
        tls.mkdir(parents=True)
    return tls


def test_without_anything_it_is_the_default_socket(tmp_path: Path) -> None:
    endpoint = find_endpoint({"HOME": str(tmp_path)})

    assert endpoint.url == "unix:///var/run/docker.sock"
    assert endpoint.socket == Path("/var/run/docker.sock")
    assert endpoint.context == "default"


def test_docker_host_goes_before_every_context(tmp_path: Path) -> None:
    write_config(tmp_path, {"currentContext": "far"})
    environ = {
        "DOCKER_CONFIG": str(tmp_path),
        "DOCKER_HOST": "tcp://build:2375",
        "DOCKER_CONTEXT": "other",
    }
    endpoint = find_endpoint(environ)

    assert (endpoint.url, endpoint.context, endpoint.socket) == (
        "tcp://build:2375",
        "default",
        None,
    )
    assert endpoint.child_environ({**environ, "PATH": "/bin"}) == {
        "DOCKER_CONFIG": str(tmp_path),
        "DOCKER_HOST": "tcp://build:2375",
        "PATH": "/bin",
    }


def test_a_docker_command_sees_of_the_environment_what_changes_no_image() -> None:
    kept = {
        "HOME": "/h",
        "LC_ALL": "C",
        "SSH_AUTH_SOCK": "/s",
        "HTTPS_PROXY": "http://p",
        "no_proxy": "x",
        "AWS_PROFILE": "a",
        "BUILDX_CONFIG": "/b",
    }
    foreign = (
        *("DOCKER_DEFAULT_PLATFORM", "DOCKER_BUILDKIT", "DOCKER_CONTENT_TRUST"),
        *("SOURCE_DATE_EPOCH", "BUILDX_BUILDER", "BUILDX_EXPERIMENTAL", "BUILDKIT_SYNTAX"),
        *("BUILDKIT_HOST", "EXPERIMENTAL_BUILDKIT_SOURCE_POLICY", "COMPOSE_FILE", "TOKEN"),
        *("DOCKER_CONTEXT", "DOCKER_TLS_VERIFY", "DOCKER_CERT_PATH", "DOCKER_TLS"),
    )
    endpoint = find_endpoint({"DOCKER_HOST": "tcp://build:2375"})

    environ = endpoint.child_environ({**kept, **dict.fromkeys(foreign, "x")})
    assert environ == {**kept, "DOCKER_HOST": "tcp://build:2375"}


def test_docker_host_with_tls_takes_certificates_from_the_folder_that_is_named() -> None:
    environ = {
        "DOCKER_HOST": "tcp://build:2376",
        "DOCKER_TLS_VERIFY": "1",
        "DOCKER_CERT_PATH": "/certs",
    }
    endpoint = find_endpoint(environ)

    assert endpoint.certificates == Path("/certs")
    assert endpoint.verify
    assert endpoint.env == environ


def test_docker_host_with_tls_takes_certificates_from_the_config_folder_else() -> None:
    environ = {
        "DOCKER_HOST": "tcp://b:2376",
        "DOCKER_TLS_VERIFY": "1",
        "DOCKER_CONFIG": "/home/me/.docker",
    }

    assert find_endpoint(environ).certificates == Path("/home/me/.docker")


def test_a_named_context_goes_before_the_current_one(tmp_path: Path) -> None:
    write_config(tmp_path, {"currentContext": "near"})
    write_context(tmp_path, "near", {"Host": "unix:///near.sock"})
    write_context(tmp_path, "far", {"Host": "ssh://root@far"})
    environ = {"DOCKER_CONFIG": str(tmp_path)}

    assert find_endpoint(environ).url == "unix:///near.sock"
    assert find_endpoint({**environ, "DOCKER_CONTEXT": "far"}) == Endpoint(
        url="ssh://root@far", context="far", env={"DOCKER_CONTEXT": "far"}
    )


def test_the_default_context_by_name_is_the_default_socket(tmp_path: Path) -> None:
    write_config(tmp_path, {"currentContext": "gone"})
    environ = {"DOCKER_CONFIG": str(tmp_path), "DOCKER_CONTEXT": "default"}

    assert find_endpoint(environ).url == "unix:///var/run/docker.sock"


def test_a_context_brings_its_own_certificates(tmp_path: Path) -> None:
    docker = {"Host": "tcp://b:2376", "SkipTLSVerify": True}
    folder = write_context(tmp_path, "tls", docker, certificates=True)
    endpoint = find_endpoint({"DOCKER_CONFIG": str(tmp_path), "DOCKER_CONTEXT": "tls"})

    assert endpoint.certificates == folder
    assert not endpoint.verify


def test_a_context_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(EngineUnavailableError, match='no docker context "gone"') as caught:
        find_endpoint({"DOCKER_CONFIG": str(tmp_path), "DOCKER_CONTEXT": "gone"})
    assert "docker context ls" in str(caught.value.hint)


@pytest.mark.parametrize("content", ["{", "[]", ""])
def test_a_broken_config_is_an_error_that_names_the_file(tmp_path: Path, content: str) -> None:
    (tmp_path / "config.json").write_text(content, encoding="utf-8")

    with pytest.raises(EngineUnavailableError, match=r"config\.json"):
        docker_config({"DOCKER_CONFIG": str(tmp_path)})


def test_no_config_is_an_empty_one(tmp_path: Path) -> None:
    assert docker_config({"DOCKER_CONFIG": str(tmp_path)}) == {}
