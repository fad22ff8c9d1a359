"""Registries that ask who one is, by token or by password over TLS: push, pull and promote."""

from __future__ import annotations

import base64
import json
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from msgspec import Struct

from builder.docker.settings import Login
from tests.e2e.conftest import Ocbuild, docker
from tests.support.certificates import Certificate, make_authority, make_server
from tests.support.client import make_client
from tests.support.registry import PASSWORD, USER
from tests.support.secure_registry import SecureRegistry, Tokens
from tests.support.token_server import TokenServer
from tests.support.tree import Tree

pytestmark = [pytest.mark.e2e, pytest.mark.engine]


class Guarded(Struct, frozen=True):
    """Two registries, and the environment of a user whom both know."""

    tokens: str
    tls: str
    folder: Path

    @property
    def environ(self) -> dict[str, str]:
        return self.environ_with(PASSWORD)

    def environ_with(self, password: str) -> dict[str, str]:
        folder = self.folder / f"docker-{password}"
        folder.mkdir(exist_ok=True)
        auth = base64.b64encode(f"{USER}:{password}".encode()).decode()
        auths = {host: {"auth": auth} for host in (self.tokens, self.tls)}
        (folder / "config.json").write_text(json.dumps({"auths": auths}))
        return {"DOCKER_CONFIG": str(folder), "XDG_CONFIG_HOME": str(self.folder)}

    def trust(self, certificate: Path) -> None:
        """Have the registry with TLS trusted by whoever has this certificate as its CA."""
        folder = self.folder / "docker/certs.d" / self.tls
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "ca.crt").write_bytes(certificate.read_bytes())

    def repositories(self, host: str) -> list[str]:
        certificates = self.folder / "docker/certs.d"
        login = Login(username=USER, password=PASSWORD)
        with make_client(login=login, certificates=certificates) as client:
            return list(client.catalog(host))


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    return make_authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture
def guarded(authority: Certificate, tmp_path: Path) -> Iterator[Guarded]:
    server = TokenServer(authority)
    where = Tokens(realm=server.realm, certificate=authority.certificate)
    with (
        server.web,
        SecureRegistry(tokens=where) as first,
        SecureRegistry(login=True, tls=make_server(tmp_path, authority)) as second,
    ):
        made = Guarded(tokens=first.address, tls=second.address, folder=tmp_path)
        made.trust(authority.certificate)
        yield made


def pulled(environ: Mapping[str, str], reference: str) -> str:
    docker("rmi", "--force", reference, check=False)
    done = subprocess.run(
        ["docker", "--config", environ["DOCKER_CONFIG"], "run", "--rm", reference, "cat", "/app"],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_release_goes_to_one_and_is_promoted_to_the_other(
    ocbuild: Ocbuild, tree: Tree, namespace: str, guarded: Guarded
) -> None:
    tree.image("app", "FROM base\nRUN echo app > /app\n")
    commit = tree.commit()
    here = ("--registry", guarded.tokens)
    ended = ocbuild("all", "--push", *here, env=guarded.environ)
    assert ended.code == 0, ended.err
    assert pulled(guarded.environ, f"{guarded.tokens}/{namespace}/app:1.0-{commit}") == "app\n"

    target = f"{guarded.tls}/{namespace}"
    ended = ocbuild("release", "promote", commit, "--to", target, *here, env=guarded.environ)
    assert ended.code == 0, ended.err
    assert pulled(guarded.environ, f"{target}/app:1.0-{commit}") == "app\n"
    there = ("--registry", guarded.tls)
    ended = ocbuild("release", "verify", commit, *there, env=guarded.environ)
    assert ended.code == 0, ended.err

    # What was promoted is where a run that publishes there goes on from.
    tree.image("app", "FROM base\nRUN echo another > /app\n")
    second = tree.commit("another app")
    ended = ocbuild("all", "--push", *there, env=guarded.environ)
    assert ended.code == 0, ended.err
    assert ocbuild.report()["images"]["base"]["action"] == "retag"
    assert pulled(guarded.environ, f"{target}/app:1.0-{second}") == "another\n"


@pytest.mark.parametrize("which", ["tokens", "tls"])
def test_a_wrong_password_is_one_line_and_nothing_is_published(
    ocbuild: Ocbuild, tree: Tree, guarded: Guarded, which: str
) -> None:
    tree.commit()
    host = getattr(guarded, which)
    environ = guarded.environ_with("wrong")
    ended = ocbuild("all", "--push", "--registry", host, env=environ)
    assert ended.code == 4
    said = ended.err.split("\n\n")[0].strip().splitlines()
    assert len(said) == 1, ended.err
    assert host in said[0]
    assert "docker login" in ended.err
    assert guarded.repositories(host) == []


def test_a_certificate_that_nobody_trusts_is_one_line_with_what_to_do(
    ocbuild: Ocbuild, tree: Tree, guarded: Guarded, authority: Certificate, tmp_path: Path
) -> None:
    tree.commit()
    (tmp_path / "other").mkdir()
    guarded.trust(make_authority(tmp_path / "other").certificate)
    ended = ocbuild("all", "--push", "--registry", guarded.tls, env=guarded.environ)
    assert ended.code == 4
    assert "certificate" in ended.err
    assert f"/etc/docker/certs.d/{guarded.tls}/ca.crt" in ended.err
    guarded.trust(authority.certificate)
    assert guarded.repositories(guarded.tls) == []
