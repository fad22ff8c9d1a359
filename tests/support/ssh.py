"""Lets a host of the tests be reached by ssh, with a key, settings and a server of their own."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from msgspec import Struct

from tests.support.engines import docker, soon
from tests.support.hosts import HostEngine
from tests.support.registry import require

_CONTEXT = Path(__file__).parent / "sshd"
_SETTINGS = """\
Host *
    IdentityFile {key}
    IdentitiesOnly yes
    UserKnownHostsFile {folder}/known_hosts
    StrictHostKeyChecking accept-new
    BatchMode yes
    LogLevel ERROR
"""


class Ssh(Struct, frozen=True, kw_only=True):
    """``url`` is the host's engine by ssh; ``path`` is a PATH on which ssh has our settings."""

    url: str
    path: str


def open_to_ssh(host: HostEngine, folder: Path, base: str) -> Ssh:
    """Run an SSH server in the host's network; ``base`` is the image that it is made from."""
    program = shutil.which("ssh")
    require(program and shutil.which("ssh-keygen"), "the program ssh")
    key, client = folder / "key", folder / "bin" / "ssh"
    subprocess.run(
        ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True, timeout=60
    )
    (folder / "config").write_text(_SETTINGS.format(key=key, folder=folder))
    client.parent.mkdir()
    client.write_text(f'#!/bin/sh\nexec {program} -F {folder}/config "$@"\n')
    client.chmod(0o755)
    image = f"ocbuild-test/sshd:{os.getpid()}"
    docker(
        "buildx", "build", "--load", "--build-arg", f"BASE={base}", "--tag", image, str(_CONTEXT)
    )
    try:
        _hand_over(image, host)
    finally:
        docker("rmi", image)
    (folder / "authorized").mkdir(mode=0o700)
    (folder / "authorized" / "authorized_keys").write_text(key.with_suffix(".pub").read_text())
    mounts = {
        folder / "authorized": "/root/.ssh",
        Path(str(shutil.which("docker"))): "/usr/bin/docker",
        host.socket: "/var/run/docker.sock",
    }
    words = [word for here, there in mounts.items() for word in ("--volume", f"{here}:{there}")]
    host.docker("run", "--detach", "--network", "host", *words, image)
    made = Ssh(
        url=f"ssh://root@{host.address}", path=f"{client.parent}{os.pathsep}{os.environ['PATH']}"
    )
    assert soon(lambda: _answers(made), within=30), f"no answer at {made.url}"
    return made


def _hand_over(image: str, host: HostEngine) -> None:
    with subprocess.Popen(["docker", "save", image], stdout=subprocess.PIPE) as saved:
        subprocess.run(
            ["docker", "--host", host.url, "load", "--quiet"],
            stdin=saved.stdout,
            capture_output=True,
            check=True,
            timeout=300,
        )
    assert saved.returncode == 0


def _answers(made: Ssh) -> bool:
    done = subprocess.run(
        ["docker", "--host", made.url, "version"],
        env={**os.environ, "PATH": made.path},
        capture_output=True,
        check=False,
        timeout=60,
    )
    return done.returncode == 0
