"""One cloud for all tests of this folder, and a client of it."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cloud.client import Client
from tests.cloud.site import ROOT, Site, release
from tests.images.conftest import references
from tests.support.containers import References
from tests.support.engines import docker
from tests.support.leftovers import sweep
from tests.support.registry import require

__all__ = ["References", "references"]

BROKEN = (
    'CMD ["uwsgi", "--ini", "/etc/uwsgi/openstack.ini", "--http-socket", "0.0.0.0:5000", '
    '"--wsgi-file", "/no/such/file"]'
)


# Gone with its tests: a machine has no room for it beside the next cloud.
@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A site with nothing deployed, and three releases: a good, a newer, a broken one."""
    require(docker("version", "--format", "{{.Server.Version}}"), "a Docker Engine")
    sweep()
    made = Site(tmp_path_factory.mktemp("site"))
    made.write()
    release("r1", {})
    release("r2", {"glance-api": "LABEL changed=1"})
    release("r3", {"glance-api": "LABEL changed=1", "keystone": BROKEN})
    try:
        yield made
    finally:
        made.remove()


@pytest.fixture(scope="session")
def guest(references: References, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the kernel and the initramfs of a guest."""
    folder = tmp_path_factory.mktemp("guest")
    subprocess.run(
        [
            *("docker", "buildx", "build", "--build-arg", f"BASE={references['base']}"),
            *("--output", str(folder), str(ROOT / "tests/cloud/guest")),
        ],
        capture_output=True,
        check=True,
        timeout=600,
    )
    return folder


@pytest.fixture(scope="module")
def client(site: Site, references: References) -> Iterator[Client]:
    """Needs the networks of the cloud, so it is asked for after the deployment."""
    made = Client(site, references["openstack-client"])
    try:
        yield made
    finally:
        docker("rm", "--force", made.id)
