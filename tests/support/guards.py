"""Guards around each unit test: it meets nobody but itself, and leaves the process as it was.

- Connections go only to what the test itself, or a wider fixture, has bound on the loopback, or to
  a unix socket below pytest's temporary folder. Tests of packages that are pure may not make a
  socket at all. Processes that tests start are not watched, but their ``docker`` is their own.
- The environment has no wish of this machine: HOME and the like name an empty folder, and what
  leads to engines, registries, proxies and settings of ocbuild is gone.
- Who changes the environment or the working directory does so by ``monkeypatch``, which undoes it.
"""

from __future__ import annotations

import os
import re
import shutil
import socket
import sys
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

PURE = frozenset({"core", "config", "tree", "report", "commands"})
HOMES = (
    "HOME",
    "XDG_CACHE_HOME",
    "XDG_CONFIG_HOME",
    "XDG_DATA_HOME",
    "XDG_RUNTIME_DIR",
    "XDG_STATE_HOME",
    "DOCKER_CONFIG",
)
_UNWANTED = re.compile(
    r"(DOCKER|BUILDKIT|BUILDX|OCBUILD|REGISTRY|GIT|NOTIFY)_.*|(HTTPS?|FTP|ALL|NO)_PROXY"
    r"|SSL_CERT_(FILE|DIR)|CI|COLUMNS|LINES|(NO|FORCE)_COLOR|SOURCE_DATE_EPOCH",
    re.IGNORECASE,
)
_NETWORKS = (socket.AF_INET, socket.AF_INET6)
# Of the loopback: nobody listens there, and tests that want nobody say so by them.
_UNUSED_PORTS = frozenset({1, 9})
# What fixtures have bound that are set up before any test.
_bound_for_all = {("loopback", str(port)) for port in _UNUSED_PORTS}


def _place(family: int, address: Any) -> tuple[str, str]:
    """A name for where a socket is or goes to; all addresses of the loopback are one host."""
    if family == socket.AF_UNIX:
        return "unix", os.fsdecode(address)
    if family not in _NETWORKS:
        return str(family), repr(address)
    host, port = address[:2]
    loopback = host in ("localhost", "::1") or host.startswith("127.")
    return "loopback" if loopback else host, str(port)


class Limits:
    """What one test may connect to and start; ``breaches`` tell what it did besides."""

    def __init__(self, folder: Path, *, pure: bool) -> None:
        self._folder = folder
        self._pure = pure
        self._bound: set[tuple[str, str]] = set()
        self.breaches: list[str] = []

    def make(self, family: int) -> None:
        if self._pure:
            self._refuse(f"made a socket ({socket.AddressFamily(family).name})")

    def bind(self, family: int, address: Any) -> None:
        self._bound.add(_place(family, address))

    def connect(self, family: int, address: Any) -> None:
        kind, name = place = _place(family, address)
        if place in self._bound or place in _bound_for_all:
            return
        if kind != "unix" or not self._is_below(name):
            self._refuse(f"connected to {address!r}, which it has not opened")

    def start(self, program: str) -> None:
        path = shutil.which(program)
        if Path(program).name == "docker" and path is not None and not self._is_below(path):
            self._refuse(f"started {path}")

    def _is_below(self, path: str) -> bool:
        return "\0" not in path and Path(path).resolve().is_relative_to(self._folder)

    def _refuse(self, what: str) -> None:
        self.breaches.append(what)
        # No Exception, so that nothing that is tested takes it for an error of the network.
        pytest.fail(f"the test {what}")


# Those of the test that runs, if one does.
_limits: list[Limits] = []


def _watch_sockets() -> None:
    make, bind = socket.socket.__init__, socket.socket.bind
    connect, connect_ex = socket.socket.connect, socket.socket.connect_ex

    def made(self: socket.socket, *arguments: Any, **named: Any) -> None:
        make(self, *arguments, **named)
        # With a descriptor it is one that there is already.
        if len(arguments) < 4 and named.get("fileno") is None:
            _ask(self, lambda limits: limits.make(self.family))

    def bound(self: socket.socket, address: Any) -> None:
        bind(self, address)
        place = self.getsockname()
        _ask(self, lambda limits: limits.bind(self.family, place))
        if not _limits:
            _bound_for_all.add(_place(self.family, place))

    def connected(self: socket.socket, address: Any) -> None:
        _ask(self, lambda limits: limits.connect(self.family, address))
        connect(self, address)

    def tried(self: socket.socket, address: Any) -> int:
        _ask(self, lambda limits: limits.connect(self.family, address))
        return connect_ex(self, address)

    methods = {"__init__": made, "bind": bound, "connect": connected, "connect_ex": tried}
    for name, method in methods.items():
        setattr(socket.socket, name, method)


def _ask(asking: socket.socket, question: Callable[[Limits], None]) -> None:
    """Close the socket if it is refused what it asks for: who made it may not get to do so."""
    try:
        for limits in _limits:
            question(limits)
    except BaseException:
        asking.close()
        raise


def _watch_curl() -> None:
    """Have libcurl's sockets opened by Python, where it is known what they are for."""
    try:
        pycurl: Any = import_module("pycurl")
    except ModuleNotFoundError:
        return

    class Lent(socket.socket):
        """pycurl takes a duplicate of it, and lets go of this one without closing it."""

        def __del__(self) -> None:
            self.close()

    class Curl(pycurl.Curl):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.setopt(pycurl.OPENSOCKETFUNCTION, self._open)

        def reset(self) -> None:
            super().reset()
            self.setopt(pycurl.OPENSOCKETFUNCTION, self._open)

        @staticmethod
        def _open(_purpose: int, address: Any) -> Any:
            try:
                for limit in _limits:
                    limit.connect(address.family, address.addr)
            except pytest.fail.Exception:
                return pycurl.SOCKET_BAD
            return Lent(address.family, address.socktype, address.protocol)

    pycurl.Curl = Curl


def _audit(event: str, arguments: tuple[Any, ...]) -> None:
    if event == "subprocess.Popen":
        for limit in _limits:
            limit.start(os.fsdecode(arguments[0]))


_watch_sockets()
_watch_curl()
sys.addaudithook(_audit)


@pytest.fixture(scope="session")
def empty_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for HOME and its like that has to stay empty."""
    return tmp_path_factory.mktemp("empty-home")


@pytest.fixture(autouse=True)
def guarded(request: pytest.FixtureRequest, empty_home: Path) -> Iterator[None]:
    """What holds for a test and for all that it asks for: set up first, looked at last.

    A test that is to meet an engine is left alone.
    """
    if request.node.get_closest_marker("engine"):
        yield
        return
    limits = Limits(empty_home.parent.resolve(), pure=request.path.parent.name in PURE)
    folder = Path.cwd()
    with pytest.MonkeyPatch.context() as patch:
        for name in filter(_UNWANTED.fullmatch, list(os.environ)):
            patch.delenv(name)
        for name in HOMES:
            patch.setenv(name, str(empty_home))
        before = dict(os.environ)
        _limits.append(limits)
        yield
        _limits.remove(limits)
        faults = [*limits.breaches, *_left_behind(before, folder, empty_home)]
    if faults:
        pytest.fail("the test " + "; it ".join(faults), pytrace=False)


def _left_behind(environ: dict[str, str], folder: Path, home: Path) -> Iterator[str]:
    """What a test has changed and not undone; it is undone here."""
    # pytest itself says in the environment which test it is at.
    names = {name for name, _ in environ.items() ^ os.environ.items()} - {"PYTEST_CURRENT_TEST"}
    if names:
        yield f"changed {', '.join(sorted(names))} in os.environ without monkeypatch"
        os.environ.clear()
        os.environ.update(environ)
    if Path.cwd() != folder:
        yield f"stayed in {Path.cwd()} as its working directory"
        os.chdir(folder)
    for path in list(home.iterdir()):
        yield f"left {path.name} in its home"
        shutil.rmtree(path) if path.is_dir() else path.unlink()
