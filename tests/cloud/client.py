"""The openstack client as a user of the cloud has it, and what it takes to boot a guest."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path

from tests.cloud.site import Site
from tests.support.engines import docker, soon


class Client:
    """The openstack client, in a container on the network of the cloud."""

    def __init__(self, site: Site, image: str, *, engine: Sequence[str] = ()) -> None:
        self._docker = ("docker", *engine)
        env = site.folder / "deploy" / "common.env"
        self.id = docker(
            *(*engine, "run", "--detach", "--rm", "--network", site.networks[0]),
            *("--env-file", str(env), "--name", f"{site.name}-client", image, "sleep", "infinity"),
        )

    def put(self, file: Path, data: bytes | None = None) -> str:
        """Copy a file to where the client works; its name there."""
        subprocess.run(
            [*self._docker, "exec", "--interactive", self.id, "sh", "-c", f"cat > {file.name}"],
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
            [*self._docker, "exec", self.id, "entrypoint.sh", "openstack", *words],
            capture_output=True,
            text=True,
            check=False,
            timeout=600,
        )

    def image(self, name: str, form: str, file: str) -> str:
        """Upload a file; the id of the image."""
        words = ("--file", file, "--disk-format", form, "--container-format", form)
        return self.value("id", "image", "create", name, *words)

    def boot(self, guest: Path) -> str:
        """Make all that a guest needs, and the guest "guest" in the network "net"; its id."""
        kernel = self.image("kernel", "aki", self.put(guest / "vmlinuz"))
        initrd = self.image("initrd", "ari", self.put(guest / "initrd"))
        disk = self.put(Path("disk"), bytes(1024 * 1024))
        self(
            *("image", "create", "guest", "--file", disk),
            *("--disk-format", "raw", "--container-format", "bare"),
            *("--property", f"kernel_id={kernel}", "--property", f"ramdisk_id={initrd}"),
            *("--property", "os_command_line=console=ttyS0"),
        )
        self("network", "create", "net")
        subnet = ("--network", "net", "--subnet-range", "10.5.0.0/24", "--gateway", "none")
        self("subnet", "create", "subnet", *subnet)
        self("flavor", "create", "tiny", "--ram", "256", "--disk", "1", "--vcpus", "1")
        # The scheduler takes up new hosts every half minute.
        assert soon(lambda: "compute-1" in self("hypervisor", "list"), within=90)
        words = ("--image", "guest", "--flavor", "tiny", "--network", "net", "--wait")
        return self.value("id", "server", "create", "guest", *words)

    def console(self, server: str) -> str:
        """What the guest wrote on its console until it was ready, or could have been."""
        show = ("console", "log", "show", server)
        assert soon(lambda: "guest: ready" in self(*show), within=180), self(*show)
        return self(*show)

    def value(self, field: str, *words: str) -> str:
        return self(*words, "--format", "value", "--column", field)
