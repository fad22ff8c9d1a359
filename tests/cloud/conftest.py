"""One cloud for all tests of this folder, and a client of it."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cloud.site import ROOT, Site, release
from tests.images.conftest import References, references
from tests.support.engines import docker
from tests.support.registry import require

__all__ = ["References", "references"]

BROKEN = (
    'CMD ["uwsgi", "--ini", "/etc/uwsgi/openstack.ini", "--http-socket", "0.0.0.0:5000", '
    '"--wsgi-file", "/no/such/file"]'
)


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A site with nothing deployed, and three releases: a good, a newer, a broken one."""
    require(docker("version", "--format", "{{.Server.Version}}"), "a Docker Engine")
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


class Client:
    """The openstack client, in a container on the network of the cloud."""

    def __init__(self, site: Site, image: str) -> None:
        env = site.folder / "deploy" / "common.env"
        self.id = docker(
            *("run", "--detach", "--rm", "--network", site.networks[0], "--env-file", str(env)),
            *("--name", f"{site.name}-client", image, "sleep", "infinity"),
        )

    def put(self, file: Path, data: bytes | None = None) -> str:
        """Copy a file to where the client works; its name there."""
        subprocess.run(
            ["docker", "exec", "--interactive", self.id, "sh", "-c", f"cat > {file.name}"],
            input=file.read_bytes() if data is None else data,
            check=True,
            timeout=120,
        )
        return file.name

    def __call__(self, *words: str) -> str:
        """What the client prints for a command, which has to succeed."""
        done = self.attempt(*words)
        assert done.returncode == 0, f"openstack {words}: {done.stdout}{done.stderr}"
        return done.stdout.strip()

    def attempt(self, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["docker", "exec", self.id, "entrypoint.sh", "openstack", *words],
            capture_output=True,
            text=True,
            check=False,
            timeout=600,
        )

    def value(self, field: str, *words: str) -> str:
        return self(*words, "--format", "value", "--column", field)


@pytest.fixture(scope="session")
def client(site: Site, references: References) -> Iterator[Client]:
    """Needs the networks of the cloud, so it is asked for after the deployment."""
    made = Client(site, references["openstack-client"])
    try:
        yield made
    finally:
        docker("rm", "--force", made.id)
