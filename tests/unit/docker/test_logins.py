"""Logins as docker's config.json and its helpers have them."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest

from builder.core.reference import HUB
from builder.core.registry_faults import CredentialsError
from builder.docker.settings import HUB_KEY, DockerLogins, Login, registry_auth, registry_config

HOST = "registry.example.com:5000"
ALICE = Login(username="alice", password="s3:cret")
AUTH = {"auth": base64.b64encode(b"alice:s3:cret").decode()}


def logins(folder: Path, config: object) -> DockerLogins:
    (folder / "config.json").write_text(json.dumps(config))
    return DockerLogins({"DOCKER_CONFIG": str(folder), "PATH": f"{folder}:/usr/bin:/bin"})


def helper(folder: Path, name: str, script: str) -> None:
    program = folder / f"docker-credential-{name}"
    # What it was asked is kept, so that tests can see how often.
    program.write_text(f'#!/bin/sh\nhost=$(cat); echo "$1 $host" >> {folder}/asked\n{script}\n')
    program.chmod(0o755)


def asked(folder: Path) -> list[str]:
    return (folder / "asked").read_text().splitlines()


@pytest.mark.parametrize(
    ("key", "host"),
    [
        (HOST, HOST),
        (f"https://{HOST}", HOST),
        (f"https://{HOST}/v1/", HOST),
        (f"http://{HOST}/v2/", HOST),
        ("https://index.docker.io/v1/", "docker.io"),
        ("index.docker.io", "docker.io"),
        ("docker.io", "docker.io"),
    ],
)
def test_a_login_is_found_under_all_names_that_docker_ever_wrote(
    tmp_path: Path, key: str, host: str
) -> None:
    assert logins(tmp_path, {"auths": {key: AUTH}}).login(host) == ALICE


def test_another_registry_gets_no_login(tmp_path: Path) -> None:
    found = logins(tmp_path, {"auths": {HOST: AUTH, "bad": None}})
    assert found.login("registry.example.com") is None
    assert found.login("docker.io") is None
    assert DockerLogins({"HOME": str(tmp_path / "nowhere")}).login(HOST) is None


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        ({}, None),
        ({"identitytoken": "abc"}, Login(identity_token="abc")),
        ({"identitytoken": "abc", **AUTH}, Login(identity_token="abc")),
        ({"username": "alice", "password": "s3:cret"}, ALICE),
        ({"auth": base64.b64encode(b"alice:s3:cret\0\0").decode()}, ALICE),
    ],
)
def test_entries_come_in_several_forms(
    tmp_path: Path, entry: dict[str, str], expected: Login | None
) -> None:
    assert logins(tmp_path, {"auths": {HOST: entry}}).login(HOST) == expected


def test_a_helper_is_asked_once_and_only_for_its_registry(tmp_path: Path) -> None:
    helper(tmp_path, "one", """echo '{"Username": "alice", "Secret": "s3:cret"}'""")
    found = logins(tmp_path, {"credHelpers": {HOST: "one"}})
    assert found.login(HOST) == found.login(HOST) == ALICE
    assert found.login("other.example.com") is None
    assert asked(tmp_path) == [f"get {HOST}"]


def test_a_store_is_asked_for_all_registries_but_those_with_a_helper(tmp_path: Path) -> None:
    helper(tmp_path, "store", """echo '{"Username": "<token>", "Secret": "abc"}'""")
    config = {"credsStore": "store", "credHelpers": {HOST: ""}, "auths": {HOST: AUTH}}
    found = logins(tmp_path, config)
    assert found.login("docker.io") == Login(identity_token="abc")
    assert found.login(HOST) == ALICE
    assert asked(tmp_path) == ["get https://index.docker.io/v1/"]


@pytest.mark.parametrize(
    "script",
    [
        "echo 'credentials not found in native keychain'; exit 1",
        """echo '{"Username": "", "Secret": ""}'""",
    ],
)
def test_where_a_helper_knows_nothing_the_file_is_read(tmp_path: Path, script: str) -> None:
    helper(tmp_path, "empty", script)
    assert logins(tmp_path, {"credsStore": "empty", "auths": {HOST: AUTH}}).login(HOST) == ALICE
    assert logins(tmp_path, {"credsStore": "empty"}).login(HOST) is None


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ("echo the keychain is locked >&2; exit 1", "the keychain is locked"),
        ("echo no JSON", "an answer that is no login"),
        ("echo '{}'", "an answer that is no login"),
    ],
)
def test_a_broken_helper_is_an_error(tmp_path: Path, script: str, reason: str) -> None:
    helper(tmp_path, "broken", script)
    with pytest.raises(CredentialsError, match=reason):
        logins(tmp_path, {"credsStore": "broken"}).login(HOST)


def test_a_missing_helper_is_named_with_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(CredentialsError, match="docker-credential-absent") as caught:
        logins(tmp_path, {"credsStore": "absent"}).login(HOST)
    assert "install it" in str(caught.value.hint)
    assert caught.value.exit_code == 4


def test_a_config_that_is_no_json_or_holds_a_broken_login_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(CredentialsError, match="broken login"):
        logins(tmp_path, {"auths": {HOST: {"auth": "%"}}}).login(HOST)
    found = logins(tmp_path, {})
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(CredentialsError, match="no JSON"):
        found.login(HOST)


def test_secrets_do_not_show() -> None:
    login = Login(username="alice", password="s3cret", identity_token="t0ken")
    shown = f"{login} {login.__rich_repr__()}"
    assert "s3cret" not in shown
    assert "t0ken" not in shown


def decoded(header: str) -> dict[str, object]:
    content: dict[str, object] = json.loads(base64.urlsafe_b64decode(header))
    return content


def test_an_engine_is_told_the_login_in_a_header() -> None:
    host = "registry.example.org"
    assert decoded(registry_auth(Login(username="u", password="p"), host)) == {
        "username": "u",
        "password": "p",
        "serveraddress": host,
    }
    assert decoded(registry_auth(Login(identity_token="t"), HUB)) == {
        "identitytoken": "t",
        "serveraddress": HUB_KEY,
    }
    assert decoded(registry_auth(None, HUB)) == {}


def test_a_build_is_told_all_logins_those_of_the_helpers_too(tmp_path: Path) -> None:
    answers = """case $1 in
        list) echo '{"https://index.docker.io/v1/": "bob"}';;
        *) [ "$host" = https://index.docker.io/v1/ ] || { echo credentials not found; exit 1; }
           echo '{"Username": "bob", "Secret": "x"}';;
    esac"""
    helper(tmp_path, "store", answers)
    found = logins(tmp_path, {"credsStore": "store", "auths": {HOST: AUTH}}).all()
    assert found == {HOST: ALICE, HUB_KEY: Login(username="bob", password="x")}
    assert decoded(registry_config(found))[HUB_KEY] == {
        "username": "bob",
        "password": "x",
        "serveraddress": HUB_KEY,
    }


def test_a_build_is_told_no_login_where_a_helper_fails(tmp_path: Path) -> None:
    config = {"credHelpers": {"other.example.com": "absent"}, "auths": {HOST: AUTH}}
    assert logins(tmp_path, config).all() == {}
