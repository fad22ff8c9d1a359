"""Jobs of stacks: done where they have to be, and only there."""

from __future__ import annotations

import pytest

from tests.support.containers import Containers
from tests.support.identity import SECRETS, Identity

pytestmark = pytest.mark.images
DONE = "was done on this database before, with the same packages"
REGISTERED = "glance is registered as it should be"
AS_KEYSTONE = {**SECRETS, "DATABASE_USER": "keystone", "DATABASE_NAME": "keystone"}


@pytest.fixture
def identity(containers: Containers) -> Identity:
    made = Identity(containers, "keystone glance")
    made.mariadb.wait_healthy()
    return made


def tables(identity: Identity, database: str) -> set[str]:
    shown = identity.mariadb.run(
        "mariadb", "--batch", "--skip-column-names", "--execute", f"SHOW TABLES IN {database}"
    )
    return set(shown.split())


def test_tables_are_made_once_and_anew_in_another_database(
    containers: Containers, identity: Identity
) -> None:
    def sync() -> str:
        return containers.once("glance-api", "db-sync", env=SECRETS)

    assert DONE not in sync()
    assert "images" in tables(identity, "glance")
    assert DONE in sync()
    # A volume that is gone takes with it what is known of it.
    identity.mariadb.run("mariadb", "--execute", "DROP DATABASE glance; CREATE DATABASE glance")
    assert DONE not in sync()
    assert "images" in tables(identity, "glance")


def test_an_older_image_leaves_the_tables_of_a_newer_one_alone(
    containers: Containers, identity: Identity
) -> None:
    containers.once("glance-api", "db-sync", env=SECRETS)
    # As a newer image would leave it: a revision that this one does not know, and its own mark.
    identity.mariadb.run(
        "mariadb",
        "glance",
        "--execute",
        "UPDATE alembic_version SET version_num = 'from_the_future';"
        " INSERT INTO ocbuild_done (job, fingerprint) VALUES ('db-sync', 'newer')",
    )
    assert DONE in containers.once("glance-api", "db-sync", env=SECRETS)


@pytest.mark.usefixtures("identity")
def test_what_failed_is_done_again(containers: Containers) -> None:
    for _ in range(2):
        failed = containers.start("keystone", "once", "job", "false", env=AS_KEYSTONE)
        assert failed.exit_code() == 1
    assert DONE not in containers.once("keystone", "once", "job", "true", env=AS_KEYSTONE)
    assert DONE in containers.once("keystone", "once", "job", "true", env=AS_KEYSTONE)


@pytest.mark.usefixtures("identity")
def test_what_depends_on_a_variable_has_to_be_what_was_done_last(containers: Containers) -> None:

    def done(colour: str) -> bool:
        env = {**AS_KEYSTONE, "COLOUR": colour}
        return DONE in containers.once(
            "keystone", "once", "--with", "COLOUR", "paint", "true", env=env
        )

    assert [done("red"), done("red"), done("blue"), done("red")] == [False, True, False, False]


def test_a_service_is_registered_where_something_of_it_is_not_as_it_should_be(
    containers: Containers, identity: Identity
) -> None:
    keystone = identity.start_keystone()
    keystone.wait_healthy()

    def register(**more: str) -> bool:
        """Whether there was nothing to do."""
        env = {**SECRETS, **more}
        return REGISTERED in containers.once("glance-api", "register", env=env)

    assert not register()
    assert register()
    public = "http://glance.example.org"
    assert not register(PUBLIC_URL=public)
    assert register(PUBLIC_URL=public)
    assert not register()
    assert not register(SERVICE_PASSWORD="another")
    assert register(SERVICE_PASSWORD="another")
    assert not register()


def test_bootstrap_goes_by_the_password_and_keeps_the_keys(
    containers: Containers, identity: Identity
) -> None:
    keystone = identity.start_keystone()
    keystone.wait_healthy()
    keys = keystone.run("ls", "-l", "--time-style=full-iso", "/var/lib/keystone/keys/fernet")
    again = containers.once(
        "keystone", "bootstrap", env=SECRETS, options=(f"--volumes-from={keystone.id}",)
    )
    assert again.count(DONE) == 2
    assert keys == keystone.run(
        "ls", "-l", "--time-style=full-iso", "/var/lib/keystone/keys/fernet"
    )
    assert len(identity.show("token", "issue")["id"]) > 100
