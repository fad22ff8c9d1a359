"""Hosts for tests: Docker Engines, each in a network namespace of its own, on one wire.

Nothing of it leads outside. All of it has the id of the process in its name, so that what a killed
run left behind is known as such and removed by the next one.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from msgspec import Struct

from tests.support.engines import soon
from tests.support.registry import require

_NAME = re.compile(r"ocbuild-hosts-(\d+)")
_FOLDERS = Path("/var/tmp")
_PROGRAMS = ("dockerd", "ip", "iptables", "nsenter", "umount")
_START_SECONDS = 60.0
_STOP_SECONDS = 60.0


class HostEngine(Struct, frozen=True, kw_only=True):
    """One host: the namespace of its network, its address on the wire, the URL of its engine."""

    name: str
    namespace: str
    address: str
    folder: Path

    @property
    def socket(self) -> Path:
        return self.folder / "docker.sock"

    @property
    def url(self) -> str:
        return f"unix://{self.socket}"

    def docker(self, *words: str, check: bool = True) -> str:
        """Run the docker command with this engine; its output."""
        done = subprocess.run(
            ["docker", "--host", self.url, *words],
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )
        assert not check or done.returncode == 0, done.stderr
        return done.stdout.strip()

    def run(self, *words: str) -> str:
        """Run a program in the host's network; its output."""
        return _run("nsenter", f"--net=/run/netns/{self.namespace}", "--", *words)

    def tunnelled(self) -> int:
        """How many packets have left the host in a VXLAN tunnel since this was first asked.

        The gossip of a swarm does not go there, what containers say to those of other hosts does.
        """
        rule = ("OUTPUT", "--protocol", "udp", "--dport", "4789")
        table = ("iptables", "--wait", "--list", "OUTPUT", "--numeric", "--verbose", "--exact")
        lines = [line for line in self.run(*table).splitlines() if "dpt:4789" in line]
        if not lines:
            self.run("iptables", "--wait", "--insert", *rule)
            return 0
        return int(lines[0].split()[0])


class Wire(Struct, frozen=True, kw_only=True):
    """Two hosts or more; ``gateway`` is the address of this machine on their wire."""

    gateway: str
    hosts: tuple[HostEngine, ...]


@contextlib.contextmanager
def hosts(*names: str) -> Iterator[Wire]:
    """Start an engine for each name; all that was made goes in the end."""
    for program in _PROGRAMS:
        require(shutil.which(program), f"the program {program}")
    if os.geteuid() != 0:
        # No fault of the machine, so this is never more than skipped.
        pytest.skip("only root may make network namespaces")
    remove_stale()
    own = f"ocbuild-hosts-{os.getpid()}"
    number = _free_network()
    bridge = f"ocb{os.getpid()}"
    folder = _FOLDERS / own
    folder.mkdir(mode=0o700)
    wire = Wire(
        gateway=f"198.18.{number}.1",
        hosts=tuple(
            HostEngine(
                name=name,
                namespace=f"{own}-{index}",
                address=f"198.18.{number}.{10 + index}",
                folder=folder / name,
            )
            for index, name in enumerate(names, 1)
        ),
    )
    engines: list[subprocess.Popen[bytes]] = []
    try:
        _lay(wire, bridge, own)
        engines += [_start(host) for host in wire.hosts]
        for host, engine in zip(wire.hosts, engines, strict=True):
            _wait(host, engine)
        yield wire
    finally:
        for host in wire.hosts:
            # An engine that stops by itself gives each container ten seconds first.
            left = host.docker("ps", "--all", "--quiet", check=False).split()
            if left:
                host.docker("rm", "--force", "--volumes", *left, check=False)
        for engine in engines:
            engine.send_signal(signal.SIGTERM)
        for engine in engines:
            with contextlib.suppress(subprocess.TimeoutExpired):
                engine.wait(_STOP_SECONDS)
        _remove(own)


def remove_stale() -> None:
    """Remove what runs left behind that were killed."""
    found = _run("ip", "netns", "list") + "\n".join(each.name for each in _FOLDERS.iterdir())
    for process in sorted(set(_NAME.findall(found))):
        if not Path(f"/proc/{process}").exists():
            _remove(f"ocbuild-hosts-{process}")


def _lay(wire: Wire, bridge: str, own: str) -> None:
    _run("ip", "link", "add", bridge, "type", "bridge")
    _run("ip", "address", "add", f"{wire.gateway}/24", "dev", bridge)
    _run("ip", "link", "set", bridge, "up")
    # What crosses a bridge is filtered like what is forwarded, and an engine forbids to forward.
    _run(*_rule("--insert", bridge, own))
    for index, host in enumerate(wire.hosts, 1):
        end = f"{bridge}v{index}"
        _run("ip", "netns", "add", host.namespace)
        peer = ("peer", "name", "eth0", "netns", host.namespace)
        _run("ip", "link", "add", end, "type", "veth", *peer)
        _run("ip", "link", "set", end, "master", bridge, "up")
        host.run("ip", "link", "set", "lo", "up")
        host.run("ip", "address", "add", f"{host.address}/24", "dev", "eth0")
        host.run("ip", "link", "set", "eth0", "up")


def _rule(action: str, bridge: str, own: str) -> list[str]:
    both = ("--in-interface", bridge, "--out-interface", bridge)
    comment = ("--match", "comment", "--comment", own)
    return ["iptables", "--wait", action, "FORWARD", *both, *comment, "--jump", "ACCEPT"]


def _start(host: HostEngine) -> subprocess.Popen[bytes]:
    host.folder.mkdir()
    settings = {
        "hosts": [host.url],
        "data-root": str(host.folder / "data"),
        "exec-root": str(host.folder / "exec"),
        "pidfile": str(host.folder / "docker.pid"),
        "bip": "198.19.0.1/24",
        "insecure-registries": ["198.18.0.0/15"],
    }
    config = host.folder / "daemon.json"
    config.write_text(json.dumps(settings))
    with (host.folder / "log").open("wb") as log:
        return subprocess.Popen(
            [
                *("nsenter", f"--net=/run/netns/{host.namespace}", "--"),
                *("dockerd", "--config-file", str(config)),
            ],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )


def _wait(host: HostEngine, engine: subprocess.Popen[bytes]) -> None:
    def answers() -> bool:
        ended = engine.poll() is not None
        return ended or "." in host.docker(
            "version", "--format", "{{.Server.Version}}", check=False
        )

    assert soon(answers, within=_START_SECONDS), f"{host.name} does not answer"
    log = (host.folder / "log").read_text("utf-8", "replace")
    assert engine.poll() is None, f"{host.name} ended: {log[-2000:]}"


def _remove(own: str) -> None:
    """Remove all that has this name: processes, rules, namespaces with their links, folders."""
    namespaces = [line.split()[0] for line in _run("ip", "netns", "list").splitlines() if line]
    mine = [name for name in namespaces if name.startswith(f"{own}-")]
    for number, seconds in ((signal.SIGTERM, _STOP_SECONDS), (signal.SIGKILL, _STOP_SECONDS)):
        for name in mine:
            for process in _processes(name):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(process, number)
        if soon(lambda: not any(_processes(name) for name in mine), within=seconds):
            break
    for name in mine:
        _run("ip", "netns", "delete", name)
    bridge = f"ocb{own.rpartition('-')[2]}"
    if Path(f"/sys/class/net/{bridge}").exists():
        _run("ip", "link", "delete", bridge)
    # The rule is told from others by its comment.
    while f"--comment {own} " in _run("iptables", "--wait", "--list-rules", "FORWARD"):
        _run(*_rule("--delete", bridge, own))
    folder = _FOLDERS / own
    mounts = [line.split()[1] for line in Path("/proc/mounts").read_text().splitlines()]
    for mount in sorted((each for each in mounts if each.startswith(f"{folder}/")), reverse=True):
        _run("umount", "--lazy", mount)
    shutil.rmtree(folder, ignore_errors=True)


def _processes(namespace: str) -> list[int]:
    done = subprocess.run(
        ["ip", "netns", "pids", namespace], capture_output=True, text=True, check=False
    )
    return [int(word) for word in done.stdout.split()]


def _free_network() -> int:
    """A number that no wire of another run has."""
    taken = set(re.findall(r"198\.18\.(\d+)\.", _run("ip", "address")))
    return next(number for number in range(1, 255) if str(number) not in taken)


def _run(*words: str) -> str:
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, f"{' '.join(words)}: {done.stderr}"
    return done.stdout
