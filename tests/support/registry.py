"""A real registry on the loopback for tests: the distribution project's, started and stopped."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import socket
import subprocess
import tempfile
import urllib.error
import urllib.request
from pathlib import Path
from threading import Event

import pytest

from builder.registry.embedded import without_overrides
from tests.support.service import Service

PROGRAM = "docker-registry"
USER, PASSWORD = "tester", "s3cret"
# bcrypt of PASSWORD: all that the registry takes, and nothing of it is in the standard library.
_HTPASSWD = "tester:$2y$05$abcdefghijklmnopqrstuuLK7U1u6pVRmL7L1BBM2aS35PSZnDXlK\n"
# Lines of its access log, in Apache's format.
_REQUEST = re.compile(r'\] "([A-Z]+ /v2/[^" ]*) HTTP/')
_START_SECONDS = 15.0
# Read before unit tests lose all such words.
_REQUIRED = os.environ.get("OCBUILD_REQUIRE_ENGINE") == "1"


def require(found: object, what: str) -> None:
    """Skip the test where something it needs is missing; fail it where that must not be."""
    if found:
        return
    if _REQUIRED:
        pytest.fail(f"{what} is missing, and OCBUILD_REQUIRE_ENGINE=1 forbids to skip")
    pytest.skip(f"needs {what}")


def free_address(host: str = "127.0.0.1") -> str:
    """A host:port on which nothing listens just now."""
    with socket.socket() as listener:
        listener.bind((host, 0))
        return f"{host}:{listener.getsockname()[1]}"


class LocalRegistry(Service):
    """A registry at ``address`` with its data in a temporary folder; a context manager, too.

    ``login`` makes it ask for USER and PASSWORD, ``quick`` be as quick as our embedded one;
    ``parent`` is where the temporary folder is.
    """

    def __init__(
        self,
        address: str | None = None,
        *,
        login: bool = False,
        quick: bool = False,
        parent: Path | None = None,
    ) -> None:
        self.address = address or free_address()
        self._login = login
        self._quick = quick
        # Whether it writes down what it is asked, from its next start on.
        self.logged = True
        self._parent = parent
        self._folder: Path | None = None
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> LocalRegistry:
        program = shutil.which(PROGRAM)
        require(program, f"the program {PROGRAM} (Debian's package docker-registry)")
        if self._folder is None:
            self._folder = Path(tempfile.mkdtemp(prefix="ocbuild-registry-", dir=self._parent))
        config = self._folder / "config.yml"
        config.write_text(self._config(self._folder), encoding="utf-8")
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [str(program), "serve", str(config)],
                stdout=log,
                stderr=log,
                env=without_overrides(os.environ) if self._quick else None,
            )
        self._wait_until_it_answers()
        return self

    def stop(self) -> None:
        """Stop it; its data stay, so that it can be started again."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait(timeout=10)
            self._process = None

    def asked(self) -> list[str]:
        """Every request so far, in order, as "PUT /v2/…"."""
        assert self._folder is not None
        text = (self._folder / "log").read_text(encoding="utf-8", errors="replace")
        return _REQUEST.findall(text)

    def forget(self, repository: str) -> None:
        """Lose all that it has of a repository."""
        assert self._folder is not None
        shutil.rmtree(self._folder / "data/docker/registry/v2/repositories" / repository)

    def remove(self) -> None:
        """Stop it and remove its data."""
        self.stop()
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = None

    def close(self) -> None:
        self.remove()

    def _config(self, folder: Path) -> str:
        auth = ""
        if self._login:
            users = folder / "htpasswd"
            users.write_text(_HTPASSWD, encoding="utf-8")
            auth = f"auth: {{htpasswd: {{realm: tests, path: {users}}}}}\n"
        return (
            "version: 0.1\n"
            f"log: {{level: error, accesslog: {{disabled: {str(not self.logged).lower()}}}}}\n"
            f"storage: {{filesystem: {{rootdirectory: {folder / 'data'}}},"
            f" delete: {{enabled: true}}{', cache: {blobdescriptor: inmemory}' * self._quick}}}\n"
            f"http: {{addr: '{self.address}'}}\n{auth}"
        )

    def _wait_until_it_answers(self) -> None:
        pause = Event()
        for _ in range(int(_START_SECONDS / 0.05)):
            assert self._process is not None
            assert self._folder is not None
            if self._process.poll() is not None:
                said = (self._folder / "log").read_text(encoding="utf-8", errors="replace")
                pytest.fail(f"{PROGRAM} ended at once: {said}")
            with contextlib.suppress(OSError):
                try:
                    urllib.request.urlopen(f"http://{self.address}/v2/", timeout=5).close()
                except urllib.error.HTTPError as error:
                    error.close()
                return
            pause.wait(0.05)
        pytest.fail(f"{PROGRAM} does not answer at {self.address}")
