"""The private registry on this machine's loopback: started once, it outlives the run.

It is Debian's ``docker-registry`` program where that is installed, else a container. A registry
that somebody else runs at the address is used as it is and never touched.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import secrets
import shutil
import signal
import time
from collections.abc import Iterator, Mapping, Sequence
from enum import Enum
from pathlib import Path

from msgspec import Struct

from builder.core.errors import PublishError
from builder.core.settings.config import DEFAULT_ADDRESS
from builder.registry.loopback import Answer, ask, split
from builder.system.process import ProgramMissingError, ProgramTimeoutError, run

PROGRAM = "docker-registry"
IMAGE = "registry:2"

_READY_SECONDS = 30.0
_STOP_SECONDS = 15.0
_PULL_SECONDS = 600.0
_LOG_LIMIT = 10 * 1024 * 1024
# Nobody reads its traces. To collect garbage less often costs megabytes, and saves a tenth of time.
_SETTINGS = {"OTEL_TRACES_EXPORTER": "none", "GOGC": "400"}


class Kind(str, Enum):
    """What answers at the address."""

    PROCESS = "process"
    CONTAINER = "container"
    FOREIGN = "foreign"


class Status(Struct, frozen=True, kw_only=True):
    """``kind`` is None if no registry runs; where a foreign one has its data is not known."""

    running: bool
    address: str
    kind: Kind | None = None
    pid: int | None = None
    data: Path | None = None
    log: Path | None = None


class EmbeddedRegistry(Struct, frozen=True, kw_only=True):
    """The registry for one loopback address, with all it keeps under ``state``/registry/PORT.

    ``program`` and ``image`` are what is run: the first that is there.
    """

    state: Path
    address: str = DEFAULT_ADDRESS
    program: str = PROGRAM
    image: str = IMAGE

    def __post_init__(self) -> None:
        split(self.address)

    @property
    def folder(self) -> Path:
        return self.state / "registry" / str(split(self.address)[1])

    @property
    def data(self) -> Path:
        return self.folder / "data"

    @property
    def log(self) -> Path:
        return self.folder / "registry.log"

    @property
    def container(self) -> str:
        return f"ocbuild-registry-{split(self.address)[1]}"

    def status(self) -> Status:
        """What runs at the address now."""
        if ask(self.address) is not Answer.REGISTRY:
            return Status(running=False, address=self.address, data=self.data, log=self.log)
        pid = self._pid()
        if pid is not None:
            return self._ours(Kind.PROCESS, pid)
        if self._container_state() == "running":
            return self._ours(Kind.CONTAINER, None)
        return Status(running=True, address=self.address, kind=Kind.FOREIGN)

    def start(self) -> Status:
        """Have a registry answer at the address; one that does already is left alone.

        Raises:
            PublishError: if the address is taken by something else, or nothing can be started.

        """
        with self._alone():
            return self._have_running()

    def stop(self) -> Status:
        """Stop our registry; its data stays. One that is not ours is left running.

        Raises:
            PublishError: if it does not end.

        """
        with self._alone():
            self._end_ours()
            return self.status()

    @contextlib.contextmanager
    def stopped(self) -> Iterator[Path]:
        """Stop ours, which nobody can start meanwhile; gives its configuration; starts it again."""
        with self._alone():
            self._end_ours()
            try:
                yield self._config_file
            finally:
                self._have_running()

    # --- what is ours -------------------------------------------------------------------------

    def _have_running(self) -> Status:
        if self._pid() is None:
            answer = ask(self.address)
            if answer is Answer.REGISTRY:
                return self.status()
            if answer is Answer.SOMETHING_ELSE:
                raise self._address_taken()
            program = shutil.which(self.program)
            if program is None:
                self._start_container()
            else:
                self._start_process(program)
        try:
            self._wait_until_ready()
        except PublishError:
            self._end_ours()
            raise
        return self.status()

    @property
    def _pid_file(self) -> Path:
        return self.folder / "registry.pid"

    @property
    def _config_file(self) -> Path:
        return self.folder / "config.yml"

    def _ours(self, kind: Kind, pid: int | None) -> Status:
        log = self.log if kind is Kind.PROCESS else None
        return Status(
            running=True, address=self.address, kind=kind, pid=pid, data=self.data, log=log
        )

    def _pid(self) -> int | None:
        """The process id of our registry, if it lives.

        The number alone proves nothing: after a reboot it may be another program's.
        """
        try:
            pid = int(self._pid_file.read_text(encoding="ascii"))
            argv = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        except (FileNotFoundError, ProcessLookupError, ValueError):
            return None
        return pid if os.fsencode(self._config_file) in argv else None

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """Keep a second ocbuild from starting or stopping at the same time."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            lock = (self.folder / "lock").open("wb")
        except OSError as error:
            raise PublishError(
                f"{self.folder}: {error.strerror}",
                hint="set OCBUILD_STATE to a folder that you may write to",
            ) from error
        with lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _end_ours(self) -> None:
        pid = self._pid()
        if pid is not None:
            self._stop_process(pid)
        self._pid_file.unlink(missing_ok=True)
        if self._container_state() is not None:
            self._docker("rm", "--force", self.container)

    # --- as a process -------------------------------------------------------------------------

    def _start_process(self, program: str) -> None:
        self.data.mkdir(exist_ok=True)
        if self.log.exists() and self.log.stat().st_size > _LOG_LIMIT:
            self.log.replace(self.log.with_suffix(".log.1"))
        self._config_file.touch(mode=0o600)
        self._config_file.write_text(
            json.dumps(configuration(self.address, self.data), indent=2), encoding="utf-8"
        )
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
        # posix_spawn, not Popen: nobody is going to wait for this child.
        pid = os.posix_spawn(
            program,
            [program, "serve", str(self._config_file)],
            without_overrides(os.environ),
            file_actions=[
                (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
                (os.POSIX_SPAWN_OPEN, 1, str(self.log), flags, 0o644),
                (os.POSIX_SPAWN_DUP2, 1, 2),
            ],
            setsid=True,
            setsigmask=(),
            setsigdef=(signal.SIGPIPE, signal.SIGINT),
        )
        self._pid_file.write_text(f"{pid}\n", encoding="ascii")
        # In the middle of exec the kernel shows no command line yet.
        while self._pid() is None and _is_living_child(pid):
            time.sleep(0.005)

    def _stop_process(self, pid: int) -> None:
        for number in (signal.SIGTERM, signal.SIGKILL):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)
            deadline = time.monotonic() + _STOP_SECONDS
            while time.monotonic() < deadline:
                if not _is_living_child(pid) and self._pid() is None:
                    return
                time.sleep(0.05)
        raise PublishError(f"the registry at {self.address} (process {pid}) does not end")

    # --- as a container -----------------------------------------------------------------------

    def _start_container(self) -> None:
        host, port = split(self.address)
        self.data.mkdir(exist_ok=True)
        if self._container_state() is not None:
            self._docker("rm", "--force", self.container)
        self._docker(
            "run",
            "--detach",
            f"--name={self.container}",
            "--restart=unless-stopped",
            f"--publish={f'[{host}]' if ':' in host else host}:{port}:5000",
            f"--volume={self.data}:/var/lib/registry",
            # The data are to be the user's own, so that he can remove them.
            f"--user={os.geteuid()}:{os.getegid()}",
            "--env=REGISTRY_STORAGE_DELETE_ENABLED=true",
            *(f"--env={name}={value}" for name, value in _SETTINGS.items()),
            self.image,
        )

    def _container_state(self) -> str | None:
        """``running``, ``exited`` and so on; None if there is no container of ours."""
        try:
            argv = ["docker", "container", "inspect", "--format={{.State.Status}}", self.container]
            done = run(argv, timeout=10)
        except (ProgramMissingError, ProgramTimeoutError):
            return None
        return done.text.strip() if done.returncode == 0 else None

    def _docker(self, *arguments: str) -> None:
        try:
            done = run(["docker", *arguments], timeout=_PULL_SECONDS)
        except (ProgramMissingError, ProgramTimeoutError) as error:
            raise self._no_way(error.message) from error
        if done.returncode != 0:
            raise self._no_way(done.complaint(lines=2))

    # --- waiting, and what to say when it is in vain ------------------------------------------

    def _wait_until_ready(self) -> None:
        deadline = time.monotonic() + _READY_SECONDS
        while ask(self.address) is not Answer.REGISTRY:
            if self._pid() is None and self._container_state() != "running":
                raise PublishError(
                    f"the registry at {self.address} ended as soon as it was started:\n"
                    f"{self._last_words()}"
                )
            if time.monotonic() > deadline:
                raise PublishError(
                    f"the registry at {self.address} did not answer within {_READY_SECONDS:g} s:\n"
                    f"{self._last_words()}"
                )
            time.sleep(0.05)

    def _last_words(self) -> str:
        if self._container_state() is not None:
            done = run(["docker", "logs", "--tail=10", self.container], timeout=30)
            return done.complaint(lines=10)
        text: Sequence[str] = ()
        with contextlib.suppress(FileNotFoundError):
            text = self.log.read_text(encoding="utf-8", errors="replace").splitlines()
        return "\n".join(text[-10:]) or "it wrote nothing to its log"

    def _address_taken(self) -> PublishError:
        return PublishError(
            f"{self.address} is in use by something that is no registry",
            hint='stop that program, or set another loopback address as "registry" in build.toml',
        )

    def _no_way(self, reason: str) -> PublishError:
        return PublishError(
            f"no registry can be started at {self.address}: {self.program} is not installed, and "
            f"as a container: {reason}",
            hint="run `make engine`, or `apt-get install docker-registry`",
        )


def configuration(address: str, data: Path) -> Mapping[str, object]:
    """The program's configuration; JSON is YAML, too."""
    return {
        "version": 0.1,
        "log": {"level": "warn", "accesslog": {"disabled": True}},
        "storage": {
            "filesystem": {"rootdirectory": str(data)},
            "delete": {"enabled": True},
            # It promises blobs that a garbage collection has removed, so ours stops the registry.
            "cache": {"blobdescriptor": "inmemory"},
        },
        "http": {"addr": address, "secret": secrets.token_hex(32)},
        "health": {"storagedriver": {"enabled": False}},
    }


def without_overrides(environ: Mapping[str, str]) -> Mapping[str, str]:
    """Our environment, and the other one without what would overrule the configuration file."""
    kept = {name: value for name, value in environ.items() if not name.startswith("REGISTRY_")}
    return {**_SETTINGS, **kept}


def _is_living_child(pid: int) -> bool:
    """Whether the process is a child of this one and runs; one that has ended is collected."""
    with contextlib.suppress(ChildProcessError):
        return os.waitpid(pid, os.WNOHANG)[0] == 0
    return False


# A registry of some hundred gigabytes reads all of its manifests.
_SECONDS = 3600.0


def obstacle(embedded: EmbeddedRegistry) -> str:
    """Why no garbage collection is possible here; "" if it is."""
    kind = embedded.status().kind
    if kind is Kind.PROCESS:
        return "" if shutil.which(embedded.program) else f"{embedded.program} is not installed"
    if kind is Kind.CONTAINER:
        return f"it runs in the container {embedded.container}"
    if kind is Kind.FOREIGN:
        return "it is not ours, so its owner has to"
    return "it does not run"


def collect(embedded: EmbeddedRegistry) -> int:
    """Stop the registry, collect, start it again; the bytes of disk that are free now.

    Manifests without a tag are left: parts of indexes have none. A collection while somebody
    pushes would take blobs whose manifest is still to come, so the registry is stopped, and whoever
    pushes sees it.

    Raises:
        PublishError: it is not ours to stop, or the collection fails; it runs again in any case.

    """
    why = obstacle(embedded)
    if why:
        raise PublishError(f"the disk of {embedded.address} cannot be freed: {why}")
    before = _usage(embedded.data)
    with embedded.stopped() as config:
        argv = [embedded.program, "garbage-collect", str(config), "--delete-untagged=false"]
        done = run(argv, timeout=_SECONDS, env=without_overrides(os.environ))
        if done.returncode != 0:
            raise PublishError(
                f"the garbage collection of {embedded.address} failed: {done.complaint(lines=3)}"
            )
    return max(0, before - _usage(embedded.data))


def _usage(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
