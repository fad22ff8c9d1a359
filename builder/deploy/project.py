"""The project that is deployed: what build.toml says, hosts, secrets, and what ran before.

This machine keeps of each stack what runs now and what ran before, rendered whole. Rendered stacks
hold secrets, so the folder is private to its owner.
"""

from __future__ import annotations

import os
import secrets
import threading
from collections.abc import Callable, Mapping
from datetime import datetime, timezone
from pathlib import Path

from msgspec import Struct, field

from builder.core.deploy.projects import fits, folder_project, own_name, project_name
from builder.core.deploy.records import (
    RANDOM,
    Deployment,
    History,
    SharedRecord,
    assignments,
    filled,
    secrets_lost,
    unfilled,
)
from builder.core.deploy.rollout import chosen, listed
from builder.core.deploy.stack import Compose
from builder.core.errors import DeployError, UsageError, did_you_mean
from builder.core.options import DeployOptions, TreeOptions
from builder.core.settings.config import Config
from builder.core.settings.sections import Host, Stack
from builder.deploy.compose import DockerCommand
from builder.registry.client import Registry
from builder.system.files import replace_file, state_dir
from builder.system.process import in_threads
from builder.system.resources import Clock, SystemClock
from builder.tree.read import load_config


class LocalRecords:
    """The deployments of one project, by stack, on the machine from which it is deployed."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def history(self, stack: str) -> History:
        """What runs of a stack and what ran before.

        Raises:
            DeployError: a file of it holds something else.

        """
        return History(current=self.current(stack), previous=self.previous(stack))

    def current(self, stack: str) -> Deployment | None:
        """What runs; raises as ``history`` does."""
        return _read(self._file(stack, "current"))

    def previous(self, stack: str) -> Deployment | None:
        """What ran before; raises as ``history`` does."""
        return _read(self._file(stack, "previous"))

    def intended(self, stack: str) -> Deployment | None:
        """What was about to be brought up when a run ended before its time; raises likewise."""
        return _read(self._file(stack, "intended"))

    def back(self, stack: str) -> Deployment | None:
        """What a rollback brings back: where a change was cut off, what ran before that."""
        return self.current(stack) if self.intended(stack) else self.previous(stack)

    def deployed_last(self, stack: str) -> Deployment | None:
        """What runs of a stack, or was about to where nothing did; raises as ``history`` does."""
        return self.current(stack) or self.intended(stack)

    def known(self, stack: str) -> tuple[Deployment | None, ...]:
        """All that may run of a stack; raises as ``history`` does."""
        return self.current(stack), self.previous(stack), self.intended(stack)

    def intend(self, stack: str, now: Deployment) -> None:
        """Note that ``now`` is about to be brought up: from here on parts of it may run."""
        self._make_private()
        replace_file(self._file(stack, "intended"), now.as_bytes().decode())

    def settled(self, stack: str) -> None:
        """Note that nothing is half-way any more."""
        self._file(stack, "intended").unlink(missing_ok=True)

    def deployed(self, stack: str, now: Deployment) -> None:
        """Note that ``now`` runs."""
        history = self.history(stack)
        self._keep(stack, history, history.deployed(now))
        self.settled(stack)

    def renamed(self, stack: str, release: str) -> None:
        """Note that what runs is in this release, too."""
        history = self.history(stack)
        self._keep(stack, history, history.renamed(release))

    def removed(self, stack: str) -> None:
        """Note that nothing runs."""
        history = self.history(stack)
        self._keep(stack, history, history.removed())
        self.settled(stack)

    def informed(self, stack: str, record: SharedRecord) -> None:
        """Note what the shared record says, where that is newer."""
        history = self.history(stack)
        self._keep(stack, history, history.informed(record))

    def completed(self, stack: str, rendered: Compose) -> None:
        """Note what the compose file of today tells of what another machine deployed."""
        history = self.history(stack)
        self._keep(stack, history, history.completed(rendered))

    def keep_log(self, stack: str, container: str, lines: list[str]) -> Path:
        """Write what a container wrote that is about to be removed; returns the file."""
        file = self._folder / stack / f"{container}.log"
        self._make_private()
        replace_file(file, "\n".join([*lines, ""]))
        return file

    def _keep(self, stack: str, before: History, now: History) -> None:
        """Write what differs; what ran before first, so that it is lost at no moment."""
        for which, old, new in (
            ("previous", before.previous, now.previous),
            ("current", before.current, now.current),
        ):
            file = self._file(stack, which)
            if new is None:
                file.unlink(missing_ok=True)
            elif new != old:
                self._make_private()
                replace_file(file, new.as_bytes().decode())

    def _file(self, stack: str, which: str) -> Path:
        return self._folder / stack / f"{which}.json"

    def _make_private(self) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        self._folder.chmod(0o700)


def _read(file: Path) -> Deployment | None:
    try:
        data = file.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise DeployError(f"{file} cannot be read: {error.strerror}") from error
    return Deployment.from_bytes(data, str(file))


class DeployedProject(Struct, frozen=True, kw_only=True):
    """The chosen stacks of the project, their hosts, and what was deployed of it before."""

    config: Config
    stacks: Mapping[str, Stack]
    engines: Mapping[str, DockerCommand]
    records: LocalRecords
    cancel: threading.Event
    clock: Clock = field(default_factory=SystemClock)

    @classmethod
    def open(
        cls, tree: TreeOptions, options: DeployOptions, environ: Mapping[str, str]
    ) -> DeployedProject:
        """Read build.toml; no host is asked anything yet.

        Raises:
            UsageError: a stack or host of ``options`` is unknown.

        """
        config = load_config(tree)
        stacks = chosen(config.deploy.stacks, options.stacks)
        if options.host is not None:
            host = host_of(config, options.host)
            stacks = {name: one for name, one in stacks.items() if one.host == host.name}
        cancel = threading.Event()
        engines = {
            name: DockerCommand(host=config.deploy.hosts[name], environ=environ, cancel=cancel)
            for name in {stack.host for stack in stacks.values()}
        }
        records = LocalRecords(state_dir(environ) / "deploy" / _name(config))
        return cls(config=config, stacks=stacks, engines=engines, records=records, cancel=cancel)

    @property
    def name(self) -> str:
        return _name(self.config)

    def compose_project(self, stack: str) -> str:
        """The compose project of a stack whose file has no ``name:``.

        That in which it was deployed before, unless another stack was deployed in it, too.
        """
        recorded = {name: self.records.deployed_last(name) for name in self.config.deploy.stacks}
        places = {name: (one.host, one.project) for name, one in recorded.items() if one}
        own = recorded[stack]
        # What only the registry says is believed where it is a name that we give.
        if own is None or not (own.is_ours or own.project in self._given(stack)):
            return self._given(stack)[0]
        is_alone = list(places.values()).count(places[stack]) == 1
        return own.project if is_alone else self._given(stack)[0]

    def may_be(self, stack: str, project: str) -> bool:
        """Whether the stack's file can give it this compose project, or it had it before."""
        file = self.stacks[stack].file
        written = own_name(_text(file))
        if not written:
            return project in self._given(stack)
        beside = [file.with_name(name) for name in (FILE, EXAMPLE)]
        values = next((assignments(_text(one)) for one in beside if one.exists()), {})
        return fits(project, written, {**values, **self.engine(stack).environ})

    def _given(self, stack: str) -> tuple[str, ...]:
        """The names that are given where a file says none: that of today, and that of before."""
        folder = self.stacks[stack].file.parent.name
        return project_name(self.config.project.namespace, stack), folder_project(folder)

    def listed(self) -> list[str]:
        """The stacks in an order in which they can come up."""
        return listed(self.stacks)

    def engine(self, stack: str) -> DockerCommand:
        return self.engines[self.stacks[stack].host]

    def reach(self) -> None:
        """Make sure that all hosts answer; they are asked side by side, for one may take long.

        Raises:
            DeployError: one does not.

        """
        engines = [self.engines[name] for name in sorted(self.engines)]
        in_threads(DockerCommand.reach, engines, at_once=len(engines))

    def registry(self, environ: Mapping[str, str]) -> Registry:
        plain = frozenset(self.config.publish.plain_http)
        return Registry.connect(environ, clock=self.clock, plain_http=plain)

    def now(self) -> str:
        """The time in RFC 3339, of whole seconds."""
        at = datetime.fromtimestamp(self.clock.now(), timezone.utc)
        return at.isoformat(timespec="seconds").replace("+00:00", "Z")


def host_of(config: Config, name: str) -> Host:
    """The host of that name.

    Raises:
        UsageError: there is none.

    """
    hosts = config.deploy.hosts
    if name not in hosts:
        raise UsageError(
            f'there is no host "{name}"',
            hint=did_you_mean(name, hosts) or f"the hosts are {', '.join(sorted(hosts))}",
        )
    return hosts[name]


def _name(config: Config) -> str:
    return config.project.name or config.project.namespace.replace("/", "-")


# --- addresses and secrets ----------------------------------------------------------------------

FILE = "common.env"
EXAMPLE = "common.env.example"
# Hexadecimal digits need no quoting anywhere: not in a URL, not in SQL, not for a shell.
_BYTES = 20


def env_files_of(
    project: DeployedProject,
    options: DeployOptions,
    in_use: Callable[[], SharedRecord | None],
    say: Callable[[str], None],
) -> dict[str, Path | None]:
    """The file of addresses and secrets of each stack, made where it is missing.

    ``in_use`` tells of a stack that was deployed with one.

    Raises:
        DeployError: it is missing, and something was deployed with one: new secrets would not fit.

    """
    if options.env_file is not None:
        refuse_unfilled(options.env_file)
        return dict.fromkeys(project.stacks, options.env_file)
    folders = {name: stack.file.parent for name, stack in project.stacks.items()}
    files: dict[Path, Path | None] = {}
    for folder in dict.fromkeys(folders.values()):
        file = folder / FILE
        missing = not file.exists() and (folder / EXAMPLE).exists()
        if missing and (record := in_use()) is not None:
            raise secrets_lost(str(file), record)
        files[folder] = ensure(folder)
        if missing:
            say(f"wrote {file} with new secrets; keep it")
    return {name: files[folder] for name, folder in folders.items()}


def ensure(folder: Path) -> Path | None:
    """The file in ``folder``, made if it is missing and there is an example; None without either.

    Raises:
        DeployError: it cannot be written, or others may read it.

    """
    file, example = folder / FILE, folder / EXAMPLE
    if not file.exists():
        if not example.exists():
            return None
        write(file, example)
    refuse_unfilled(file)
    mode = file.stat().st_mode & 0o077
    if mode:
        raise DeployError(
            f"{file} holds secrets, and others than its owner have access to it",
            hint=f"chmod 600 {file}",
        )
    return file


def refuse_unfilled(file: Path) -> None:
    """Make sure that no secret is still to be filled in.

    Raises:
        DeployError: one is, or the file cannot be read.

    """
    if lines := unfilled(_text(file)):
        raise DeployError(
            f"{file}:{lines[0]}: {RANDOM} is no secret, it stands for one that is made",
            hint=f"put a secret there, or remove the file: it is then made from {EXAMPLE}",
        )


def write(file: Path, example: Path) -> None:
    """Make ``file`` from ``example``, with a new secret at each place of ``<random>``.

    Raises:
        DeployError: it exists, or cannot be written.

    """
    text = filled(_text(example), new_secret)
    new = file.with_name(f".{file.name}.{secrets.token_hex(6)}.new")
    try:
        # Private from its first byte.
        descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8") as opened:
                opened.write(text)
                opened.flush()
                os.fsync(opened.fileno())
            # Never over a file that exists, for its secrets are in use; and whole, or not at all.
            os.link(new, file)
            _sync(file.parent)
        finally:
            new.unlink()
    except OSError as error:
        raise DeployError(f"cannot write {file}: {error.strerror}") from error


def _sync(folder: Path) -> None:
    """Have the disk know the names in a folder, too."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DeployError(f"cannot read {file}: {error}") from error


def new_secret() -> str:
    return secrets.token_hex(_BYTES)
