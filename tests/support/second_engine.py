"""A second Docker Engine for tests, with the containerd image store; nothing of it stays."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from threading import Event

import pytest

from tests.support.registry import require
from tests.support.service import Service

_SECONDS = 60.0
_PAUSE = 0.1
_CONTAINERD = 'version = 2\ndisabled_plugins = ["io.containerd.grpc.v1.cri"]\n'


class SecondEngine(Service):
    """An engine with containerd, data, socket and bridge of its own, that keeps images in
    containerd; ``environ`` makes the docker command and ocbuild talk to it.

    It sets no rules of the firewall, so its containers reach this machine and nothing beyond.
    """

    def __init__(self) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="ocbuild-engine-"))
        self._bridge = f"oc-{secrets.token_hex(4)}"
        self._processes: list[subprocess.Popen[bytes]] = []

    @property
    def socket(self) -> Path:
        return self._folder / "engine.sock"

    @property
    def environ(self) -> Mapping[str, str]:
        return {"DOCKER_HOST": f"unix://{self.socket}"}

    def docker(self, *words: str) -> str:
        """Run the docker command with this engine; its output."""
        done = subprocess.run(
            ["docker", *words],
            check=False,
            capture_output=True,
            text=True,
            timeout=300,
            env={**os.environ, **self.environ},
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def start(self) -> None:
        for program in ("dockerd", "containerd", "ip"):
            require(shutil.which(program), f"the program {program}")
        if os.geteuid() != 0:
            pytest.skip("only root can start a second engine")
        self._add_bridge()
        containerd = self._folder / "containerd.sock"
        (self._folder / "containerd.toml").write_text(_CONTAINERD, encoding="utf-8")
        self._run(
            "containerd",
            *("--config", f"{self._folder}/containerd.toml", "--address", str(containerd)),
            *("--root", f"{self._folder}/containerd", "--state", f"{self._folder}/state"),
        )
        self._wait_for(containerd.exists)
        (self._folder / "daemon.json").write_text(
            json.dumps({"features": {"containerd-snapshotter": True}}), encoding="utf-8"
        )
        self._run(
            "dockerd",
            *("--config-file", f"{self._folder}/daemon.json", "--host", f"unix://{self.socket}"),
            *("--data-root", f"{self._folder}/data", "--exec-root", f"{self._folder}/run"),
            *("--pidfile", f"{self._folder}/pid", "--containerd", str(containerd)),
            *("--bridge", self._bridge, "--iptables=false", "--ip6tables=false"),
        )
        self._wait_for(self._answers)

    def stop(self) -> None:
        """Stop it and remove all that it had."""
        for process in reversed(self._processes):
            process.terminate()
            try:
                process.wait(timeout=_SECONDS)
            except subprocess.TimeoutExpired:
                process.send_signal(signal.SIGKILL)
                process.wait()
        self._processes.clear()
        subprocess.run(["ip", "link", "delete", self._bridge], check=False, capture_output=True)
        for mount in reversed(self._mounts()):
            subprocess.run(["umount", mount], check=True)
        shutil.rmtree(self._folder, ignore_errors=True)

    def close(self) -> None:
        self.stop()

    def _add_bridge(self) -> None:
        """A bridge with a network that none of this machine's interfaces has.

        Never ``--bridge none``: dockerd then deletes docker0, which is the other engine's.
        """
        taken = subprocess.run(
            ["ip", "-brief", "-4", "address"], check=True, capture_output=True, text=True
        ).stdout
        number = next(n for n in range(200, 255) if f" 10.213.{n}." not in taken)
        subprocess.run(["ip", "link", "add", self._bridge, "type", "bridge"], check=True)
        address = ["ip", "address", "add", f"10.213.{number}.1/24", "dev", self._bridge]
        subprocess.run(address, check=True)
        subprocess.run(["ip", "link", "set", self._bridge, "up"], check=True)

    def _run(self, *argv: str) -> None:
        with (self._folder / "log").open("ab") as log:
            # Of a session of its own, so that Ctrl-C at the tests does not end it before them.
            process = subprocess.Popen(argv, stdout=log, stderr=log, start_new_session=True)
        self._processes.append(process)

    def _wait_for(self, condition: Callable[[], bool]) -> None:
        pause = Event()
        for _ in range(int(_SECONDS / _PAUSE)):
            if condition():
                return
            if any(process.poll() is not None for process in self._processes):
                break
            pause.wait(_PAUSE)
        said = (self._folder / "log").read_text(encoding="utf-8", errors="replace")
        pytest.fail(f"the second engine did not start: {said[-3000:]}")

    def _answers(self) -> bool:
        with contextlib.suppress(OSError, AssertionError):
            return bool(self.socket.exists() and self.docker("version"))
        return False

    def _mounts(self) -> list[str]:
        lines = Path("/proc/self/mounts").read_text(encoding="utf-8").splitlines()
        points = [line.split()[1] for line in lines]
        return [point for point in points if point.startswith(f"{self._folder}/")]
