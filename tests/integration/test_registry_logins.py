"""The client against registries that want a password, a token, or TLS: all of them real."""

from __future__ import annotations

import base64
import json
import ssl
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from builder.core.reference import Reference
from builder.core.registry_faults import (
    ForbiddenError,
    ProtocolError,
    RegistryError,
    TlsError,
    UnauthorisedError,
)
from builder.docker.settings import Login
from builder.http.trust import Trust
from builder.registry.client import Registry
from tests.support.certificates import Certificate, make_authority, make_server
from tests.support.client import make_client
from tests.support.clock import FakeClock
from tests.support.images import make_image
from tests.support.registry import PASSWORD, USER, LocalRegistry
from tests.support.secure_registry import SecureRegistry, Tokens
from tests.support.token_server import IDENTITY, TokenServer
from tests.support.web import Asked, Say, Web

pytestmark = pytest.mark.engine

RIGHT = Login(username=USER, password=PASSWORD)
WRONG = Login(username=USER, password="wrong")


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    return make_authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def server(authority: Certificate) -> Certificate:
    return make_server(authority.certificate.parent, authority)


def ref(registry: LocalRegistry, path: str = "ns/app") -> Reference:
    return Reference(registry=registry.address, path=path, tag="1")


# --- Basic ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def guarded() -> Iterator[LocalRegistry]:
    with LocalRegistry(login=True) as registry:
        yield registry


def test_with_the_password_all_can_be_done(guarded: LocalRegistry) -> None:
    made = make_image()
    with make_client(login=RIGHT) as client:
        client.check(guarded.address)
        made.put(client, ref(guarded))
        assert client.manifest(ref(guarded)) == made.manifest
        # The registry was asked without a password once, and never again.
        requests = client.traffic.requests
        client.head(ref(guarded))
        assert client.traffic.requests == requests + 1


@pytest.mark.parametrize(
    ("login", "text"), [(None, "has none for it"), (WRONG, "does not accept the login")]
)
def test_without_it_one_line_says_so_and_nothing_is_published(
    guarded: LocalRegistry, login: Login | None, text: str
) -> None:
    clock, made = FakeClock(), make_image()
    with make_client(login=login, clock=clock) as client:
        with pytest.raises(UnauthorisedError, match=text) as caught:
            made.put(client, ref(guarded, "ns/never"))
        with pytest.raises(UnauthorisedError):
            client.check(guarded.address)
    assert caught.value.exit_code == 4
    assert "\n" not in caught.value.message
    assert f"docker login {guarded.address}" in str(caught.value.hint)
    assert clock.waits == []
    with make_client(login=RIGHT) as client:
        assert client.head(ref(guarded, "ns/never")) is None


@pytest.mark.parametrize("helper", [False, True])
def test_the_login_of_dockers_config_is_used(
    guarded: LocalRegistry, tmp_path: Path, *, helper: bool
) -> None:
    auth = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
    config: dict[str, object] = {"auths": {guarded.address: {"auth": auth}}}
    if helper:
        config = {"credHelpers": {guarded.address: "tests"}}
        program = tmp_path / "docker-credential-tests"
        answer = json.dumps({"Username": USER, "Secret": PASSWORD})
        program.write_text(f"#!/bin/sh\necho '{answer}'\n")
        program.chmod(0o755)
    (tmp_path / "config.json").write_text(json.dumps(config))
    environ = {"DOCKER_CONFIG": str(tmp_path), "PATH": f"{tmp_path}:/usr/bin:/bin"}
    with Registry.connect(environ, clock=FakeClock()) as client:
        client.check(guarded.address)


# --- tokens ---------------------------------------------------------------------------------------


@pytest.fixture
def tokens(authority: Certificate) -> Iterator[TokenServer]:
    tokens = TokenServer(authority, closed=frozenset({"ns/closed"}))
    with tokens.web:
        yield tokens


@pytest.fixture
def tokened(tokens: TokenServer, authority: Certificate) -> Iterator[LocalRegistry]:
    where = Tokens(realm=tokens.realm, certificate=authority.certificate)
    with SecureRegistry(tokens=where) as registry:
        yield registry


@pytest.mark.parametrize("login", [RIGHT, Login(identity_token=IDENTITY)])
def test_push_pull_list_and_delete_with_tokens(
    tokened: LocalRegistry, tokens: TokenServer, login: Login
) -> None:
    made = make_image()
    image = ref(tokened)
    with make_client(login=login) as client:
        client.check(tokened.address)
        made.put(client, image)
        assert client.manifest(image) == made.manifest
        assert list(client.tags(image)) == ["1"]
        assert list(client.catalog(tokened.address)) == ["ns/app"]
        client.delete(image.at(made.manifest.digest))
        assert client.head(image) is None
    # One token for each set of scopes, however many requests there were.
    assert tokens.scopes_asked == [
        [],
        ["repository:ns/app:pull,push"],
        ["repository:ns/app:pull"],
        ["registry:catalog:*"],
        ["repository:ns/app:delete"],
    ]


def test_a_mount_asks_for_both_repositories_in_one_token(
    tokened: LocalRegistry, tokens: TokenServer
) -> None:
    made = make_image()
    with make_client(login=RIGHT) as client:
        made.put(client, ref(tokened, "ns/base"))
        client.copy(ref(tokened, "ns/base"), ref(tokened))
        assert client.head(ref(tokened)) == made.manifest.descriptor
        assert client.traffic.sent < sum(blob.size for blob in made.blobs) + 5000
    assert ["repository:ns/app:pull,push", "repository:ns/base:pull"] in tokens.scopes_asked


def test_where_the_source_of_a_mount_may_not_be_read_the_blob_is_uploaded(
    tokened: LocalRegistry, tokens: TokenServer
) -> None:
    made = make_image(layers=1)
    with make_client(login=RIGHT) as client:
        source = Reference(registry=tokened.address, path="ns/closed")
        for blob in made.blobs:
            client.blobs.put(ref(tokened), blob, mount_from=source)
        client.put(ref(tokened), made.manifest)
        assert client.head(ref(tokened)) == made.manifest.descriptor


def test_anybody_may_read_what_is_public_and_push_nothing(tokened: LocalRegistry) -> None:
    made, image = make_image(), ref(tokened, "public/app")
    with make_client(login=RIGHT) as client:
        made.put(client, image)
    with make_client() as client:
        assert client.manifest(image) == made.manifest
        with pytest.raises(UnauthorisedError, match="has none for it") as caught:
            client.put(image.with_tag("2"), made.manifest)
        assert "docker login" in str(caught.value.hint)


def test_what_is_closed_to_us_is_forbidden_and_not_a_wrong_password(
    tokened: LocalRegistry,
) -> None:
    with make_client(login=RIGHT) as client, pytest.raises(ForbiddenError, match="ns/closed"):
        client.manifest(ref(tokened, "ns/closed"))


@pytest.mark.parametrize("login", [WRONG, Login(identity_token="wrong")])
def test_a_wrong_password_at_the_token_server_is_one_line(
    tokened: LocalRegistry, tokens: TokenServer, login: Login
) -> None:
    clock = FakeClock()
    with (
        make_client(login=login, clock=clock) as client,
        pytest.raises(UnauthorisedError, match="does not accept the login") as caught,
    ):
        client.put(ref(tokened), make_image().manifest)
    assert "\n" not in caught.value.message
    assert len(tokens.scopes_asked) == 1
    assert clock.waits == []


def test_many_threads_get_along_with_one_token(tokened: LocalRegistry, tokens: TokenServer) -> None:
    made, image = make_image(), ref(tokened)
    with make_client(login=RIGHT) as client:
        made.put(client, image)
        with ThreadPoolExecutor(16) as threads:
            list(
                threads.map(
                    lambda number: client.put(image.with_tag(f"t{number}"), made.manifest),
                    range(64),
                )
            )
    assert tokens.scopes_asked == [["repository:ns/app:pull,push"]]


def test_a_token_that_the_registry_finds_too_old_is_renewed(authority: Certificate) -> None:
    # The clock of the client stands still, so to it the token never expires.
    tokens = TokenServer(authority, lifetime=-120)
    where = Tokens(realm=tokens.realm, certificate=authority.certificate)
    with tokens.web, SecureRegistry(tokens=where) as registry, make_client(login=RIGHT) as client:
        with pytest.raises(UnauthorisedError):
            client.head(ref(registry))
        tokens.lifetime = 300
        assert client.head(ref(registry)) is None
        assert len(tokens.scopes_asked) == 2


# --- TLS ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def secured(server: Certificate) -> Iterator[LocalRegistry]:
    with SecureRegistry(login=True, tls=server) as registry:
        yield registry


def certs_d(folder: Path, registry: LocalRegistry, *authorities: Certificate) -> Path:
    own = folder / registry.address
    own.mkdir()
    for number, authority in enumerate(authorities):
        (own / f"ca{number}.crt").write_bytes(authority.certificate.read_bytes())
    return folder


def test_a_ca_in_dockers_folder_is_trusted_for_its_registry(
    secured: LocalRegistry, authority: Certificate, tmp_path: Path
) -> None:
    made = make_image()
    folder = certs_d(tmp_path, secured, authority)
    with make_client(login=RIGHT, certificates=folder) as client:
        made.put(client, ref(secured))
        assert client.manifest(ref(secured)) == made.manifest


@pytest.mark.parametrize("way", ["parameter", "environment"])
def test_a_ca_can_be_named_as_well(
    secured: LocalRegistry, authority: Certificate, tmp_path: Path, way: str
) -> None:
    environ = {"SSL_CERT_FILE": str(authority.certificate)} if way == "environment" else {}
    # The empty folder says that this registry on the loopback speaks TLS.
    certs_d(tmp_path, secured)
    named = Trust.of(environ, ca=authority.certificate if way == "parameter" else None)
    trust = Trust(authorities=named.authorities, folders=(tmp_path,))
    with make_client(login=RIGHT, trust=trust) as client:
        client.check(secured.address)


def test_an_unknown_ca_is_an_error_with_the_remedy_and_no_reason_to_retry(
    secured: LocalRegistry, tmp_path: Path
) -> None:
    clock = FakeClock()
    folder = certs_d(tmp_path, secured)
    with (
        make_client(login=RIGHT, certificates=folder, clock=clock) as client,
        pytest.raises(TlsError, match=r"certificate of .* is not accepted: ") as caught,
    ):
        client.check(secured.address)
    assert f"/etc/docker/certs.d/{secured.address}/ca.crt" in str(caught.value.hint)
    assert clock.waits == []


def test_a_certificate_for_another_host_is_not_accepted(
    secured: LocalRegistry, authority: Certificate, tmp_path: Path
) -> None:
    _, _, port = secured.address.partition(":")
    trust = Trust(authorities=(authority.certificate,), folders=(tmp_path,))
    (tmp_path / f"localhost:{port}").mkdir()
    with (
        make_client(login=RIGHT, trust=trust) as client,
        pytest.raises(TlsError, match="localhost"),
    ):
        client.check(f"localhost:{port}")


def test_a_registry_with_tls_is_not_taken_for_one_without(secured: LocalRegistry) -> None:
    with make_client(login=RIGHT) as client, pytest.raises(RegistryError) as caught:
        client.check(secured.address)
    assert "400 Bad Request" in caught.value.message


def test_from_tls_nothing_leads_to_plain_http(
    authority: Certificate, server: Certificate, tmp_path: Path
) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(server.certificate, server.key)

    def answer(asked: Asked) -> Say:
        place = f"http://{plain.address}/elsewhere"
        return Say(status=202 if asked.method == "POST" else 307, headers={"Location": place})

    with Web(lambda _asked: Say()) as plain, Web(answer, context=context) as secure:
        (tmp_path / secure.address).mkdir()
        trust = Trust(authorities=(authority.certificate,), folders=(tmp_path,))
        image = Reference(registry=secure.address, path="ns/app", tag="1")
        with make_client(trust=trust) as client:
            with pytest.raises(ProtocolError, match=f"{plain.address}/elsewhere, without TLS"):
                client.manifest(image)
            with pytest.raises(ProtocolError, match="without TLS") as caught:
                client.blobs.put(image, make_image().blobs[0], look=False)
            assert "X-Forwarded-Proto" in str(caught.value.hint)
        assert plain.asked == []


def test_tokens_and_tls_together_and_a_promotion_to_there(
    authority: Certificate, server: Certificate, guarded: LocalRegistry, tmp_path: Path
) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(server.certificate, server.key)
    tokens = TokenServer(authority, context=context)
    where = Tokens(realm=tokens.realm, certificate=authority.certificate)
    trust = Trust(authorities=(authority.certificate,), folders=(tmp_path,))
    made = make_image(layers=3, size=100_000)
    with tokens.web, SecureRegistry(tls=server, tokens=where) as registry:
        certs_d(tmp_path, registry)
        with make_client(login=RIGHT, trust=trust) as client:
            made.put(client, ref(guarded, "ns/promoted"))
            client.copy(ref(guarded, "ns/promoted"), ref(registry))
            assert client.manifest(ref(registry)) == made.manifest
