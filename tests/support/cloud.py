"""A cloud of the published images for tests: the control plane of OpenStack and one host for guests."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
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
DATABASES = "keystone glance placement nova nova_api:nova nova_cell0:nova neutron cinder"
COMPUTE_HOST = "compute-1"
# A container every second, and all of them at once, would be a load of its own.
_CALM = ("--health-interval=3s",)
_CALMER = ("--health-interval=6s", "--health-timeout=30s")


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


class Cloud(Identity):
    """All of it, healthy."""

    def __init__(self, containers: Containers) -> None:
        super().__init__(containers, DATABASES)
        self._env = {**SECRETS, "MEMCACHED_SERVERS": "memcached:11211"}
        self.services: dict[str, Container] = {"mariadb": self.mariadb}
        # All at once: two cores have always something to do, and each waits for little.
        with ThreadPoolExecutor(max_workers=8) as pool:
            started = pool.map(lambda step: step(), self._steps())
            list(started)
            list(pool.map(Container.wait_healthy, self.services.values()))

    def _steps(self) -> Sequence[Callable[[], None]]:
        return (self._broker, self._control_plane, self._host)

    def _broker(self) -> None:
        self._start("rabbitmq", options=_CALMER)
        self._start("memcached")

    def _control_plane(self) -> None:
        self.mariadb.wait_healthy()
        synced = ("glance", "placement", "nova", "neutron-server", "cinder")
        with ThreadPoolExecutor(max_workers=8) as pool:
            syncs = [pool.submit(self._once, image, "db-sync") for image in synced]
            self.services["keystone"] = self.start_keystone(self._env)
            registrations = [pool.submit(self._once, image, "register") for image in synced]
            for done in (*syncs, *registrations):
                done.result()
        self._start("placement")
        for image in ("glance-api", "neutron-server", "cinder-api", "cinder-scheduler"):
            self._start(image)
        self._start(
            "cinder-volume",
            env={"VOLUME_DRIVER": "cinder.tests.fake_driver.FakeLoggingVolumeDriver"},
        )
        self._start("horizon", env={"HORIZON_SECRET_KEY": "horizon-7"})
        # Nova's processes look for placement once, when they start.
        self.services["placement"].wait_healthy()
        for image in ("nova-conductor", "nova-scheduler", "nova-api", "nova-metadata"):
            self._start(image)
        self._start("nova-novncproxy")

    def _host(self) -> None:
        """What runs beside the guests shares one network namespace, that of libvirt."""
        libvirt = self._start(
            "libvirt",
            options=(
                "--privileged",
                f"--hostname={COMPUTE_HOST}",
                "--volume=/dev:/dev",
                "--volume=/run/libvirt",
                "--volume=/var/lib/nova/instances",
            ),
        )
        here = (f"--network=container:{libvirt.id}", "--privileged")
        rabbit = {"RABBIT_PASSWORD": SECRETS["RABBIT_PASSWORD"]}
        datapath = {"DATAPATH_TYPE": "netdev"}
        self._start("openvswitch-db", options=here)
        switch = self._start("openvswitch", options=(*here, "--volume=/run/openvswitch"))
        self._start(
            "neutron-openvswitch-agent",
            env={**rabbit, **datapath},
            options=(*here, f"--volumes-from={switch.id}"),
        )
        dhcp = self._start(
            "neutron-dhcp-agent",
            env={**rabbit, **datapath},
            options=(*here, "--volume=/var/lib/neutron"),
        )
        self._start(
            "neutron-metadata-agent",
            env={**rabbit, "METADATA_SECRET": SECRETS["METADATA_SECRET"]},
            options=(here[0], f"--volumes-from={dhcp.id}"),
        )
        self._start(
            "nova-compute",
            env={**rabbit, "VIRT_TYPE": "qemu"},
            options=(*here, f"--volumes-from={libvirt.id}"),
        )

    def _start(
        self, image: str, *, env: Mapping[str, str] | None = None, options: Sequence[str] = ()
    ) -> Container:
        env = {**self._env, **(env or {})}
        made = self._containers.start(image, env=env, options=(*_CALM, *options))
        self.services[image] = made
        return made

    def _once(self, image: str, command: str) -> None:
        self._containers.once(image, command, env=self._env)
