"""A small apt repository on the bridge of the engine, so that builds and this machine reach it."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import threading
from collections.abc import Callable
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from tests.support.engines import docker
from tests.support.registry import require
from tests.support.service import Service


class AptRepository(Service):
    """Serves what ``add`` packs; ``uri`` is good in a container and outside; a context manager.

    ``when_asked`` is called at each request.
    """

    def __init__(self, folder: Path) -> None:
        require(shutil.which("dpkg-deb"), "the program dpkg-deb")
        self._pool = folder / "pool"
        self._root = folder / "served"
        for path in (self._pool, self._root):
            path.mkdir(parents=True)
        gateway = docker(
            "network", "inspect", "bridge", "--format", "{{(index .IPAM.Config 0).Gateway}}"
        )
        self.asked: list[str] = []
        self.when_asked: Callable[[], object] = lambda: None
        handler = partial(_Handler, directory=str(self._root), hear=self._hear)
        self._server = ThreadingHTTPServer((gateway, 0), handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self.uri = f"http://{gateway}:{self._server.server_address[1]}"

    @property
    def entry(self) -> str:
        """The line for sources.list."""
        return f"deb [trusted=yes] {self.uri} ./"

    def add(self, name: str, version: str) -> None:
        """Pack a package of this version and list it beside those that are there."""
        content = self._pool / f"{name}-{version}"
        (content / "DEBIAN").mkdir(parents=True)
        (content / "DEBIAN/control").write_text(
            f"Package: {name}\nVersion: {version}\nArchitecture: all\n"
            "Maintainer: tests <tests@example.org>\nDescription: a toy\n",
            encoding="utf-8",
        )
        shown = content / f"usr/share/{name}"
        shown.mkdir(parents=True)
        (shown / "version").write_text(f"{version}\n", encoding="utf-8")
        deb = self._root / f"{name}_{version}_all.deb"
        words = ["dpkg-deb", "--root-owner-group", "--build", str(content), str(deb)]
        subprocess.run(words, check=True, capture_output=True)
        self._index()

    def _index(self) -> None:
        stanzas = []
        for deb in sorted(self._root.glob("*.deb")):
            control = subprocess.run(
                ["dpkg-deb", "--field", str(deb)], check=True, capture_output=True, text=True
            ).stdout.strip()
            data = deb.read_bytes()
            stanzas.append(
                f"{control}\nFilename: ./{deb.name}\nSize: {len(data)}\n"
                f"SHA256: {hashlib.sha256(data).hexdigest()}\n"
            )
        packages = "\n".join(stanzas).encode()
        (self._root / "Packages").write_bytes(packages)
        (self._root / "Release").write_text(
            f"Origin: tests\nSHA256:\n {hashlib.sha256(packages).hexdigest()}"
            f" {len(packages)} Packages\n",
            encoding="utf-8",
        )

    def start(self) -> None:
        self._thread.start()

    def _hear(self, path: str) -> None:
        self.asked.append(path)
        self.when_asked()

    def close(self) -> None:
        """Answer no more."""
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


class _Handler(SimpleHTTPRequestHandler):
    def __init__(self, *arguments: Any, hear: Callable[[str], None], **options: Any) -> None:
        self._hear = hear
        super().__init__(*arguments, **options)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        self._hear(self.path)
