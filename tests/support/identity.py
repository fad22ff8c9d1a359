"""Keystone from its published image for tests, with its database and a client beside it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from tests.support.containers import Container, Containers

SECRETS = {
    "DATABASE_PASSWORD": "database-1",
    "RABBIT_PASSWORD": "rabbit-2",
    # Services' own passwords may have any characters; those in URLs may not.
    "SERVICE_PASSWORD": "service $3%",
    "ADMIN_PASSWORD": "admin $4%",
    "METADATA_SECRET": "metadata $5%",
}
# A container every second, and all of them at once, would be a load of its own.
_CALM = ("--health-interval=3s",)


class Identity:
    """mariadb, keystone, and a container in which the openstack client is called."""

    def __init__(self, containers: Containers, databases: str = "keystone") -> None:
        self._containers = containers
        self.mariadb = containers.start(
            "mariadb",
            env={
                "MARIADB_ROOT_PASSWORD": "root-6",
                "MARIADB_DATABASES": databases,
                "DATABASE_PASSWORD": SECRETS["DATABASE_PASSWORD"],
            },
        )
        self.client = containers.start("openstack-client", "sleep", "infinity", env=SECRETS)

    def start_keystone(self, env: Mapping[str, str] | None = None) -> Container:
        """Bootstrap keystone in a database that is healthy; the API, not yet healthy."""
        env = {**SECRETS, **(env or {})}
        keys = "/var/lib/keystone/keys"
        bootstrap = self._containers.start(
            "keystone", "bootstrap", name="bootstrap", env=env, options=(f"--volume={keys}",)
        )
        code = bootstrap.exit_code()
        assert code == 0, bootstrap.logs()
        return self._containers.start(
            "keystone", env=env, options=(f"--volumes-from={bootstrap.id}", *_CALM)
        )

    def openstack(self, *words: str, stdin: str = "") -> str:
        """What the openstack client prints."""
        return self.client.run("entrypoint.sh", "openstack", *words, stdin=stdin)

    def show(self, *words: str) -> Any:
        """What the openstack client prints as JSON."""
        return json.loads(self.openstack(*words, "--format", "json"))
