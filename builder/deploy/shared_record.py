"""The records of stacks that all machines share by the registry, beside those of this machine.

The registry is right. This machine's records hold more, whole compose files with their secrets;
they count for as long as nobody deployed from elsewhere.
"""

from __future__ import annotations

import getpass
import os
import platform
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress

from msgspec import Struct, field

from builder.core.deploy.records import SharedRecord, tag_of, with_volumes
from builder.core.errors import DeployError, EngineUnavailableError, OcbuildError
from builder.core.settings.config import registry_host
from builder.deploy.compose import DockerCommand
from builder.deploy.project import DeployedProject, LocalRecords
from builder.publish.write import Deployments, Releases
from builder.system.process import in_threads


def identity(engine: DockerCommand) -> str:
    """The id that tells the engine of this host from all others.

    Raises:
        DeployError: it does not answer.

    """
    asked = engine.docker("info", "--format", "{{.ID}}")
    id_ = asked.text.strip()
    if asked.returncode != 0 or not id_:
        raise DeployError(f'host "{engine.host.name}": {asked.complaint(lines=2)}')
    return id_


@contextmanager
def shared_records(
    project: DeployedProject, environ: Mapping[str, str], say: Callable[[str], None]
) -> Iterator[tuple[SharedRecords, Releases]]:
    """The records of a project, and the releases beside them; the registry is not asked yet."""
    host, namespace = registry_host(project.config), project.config.project.namespace
    engines: dict[str, str] = {}
    for name, engine in project.engines.items():
        with suppress(DeployError, EngineUnavailableError):
            engines[name] = identity(engine)
    with project.registry(environ) as registry:
        releases = Releases(registry, host=host, namespace=namespace)
        records = SharedRecords(
            deployments=Deployments(registry, releases.repository),
            records=project.records,
            hosts={name: stack.host for name, stack in project.stacks.items()},
            engines=engines,
            project=project.name,
            by=_who(),
            now=project.now,
            say=say,
        )
        yield records, releases


def _who() -> str:
    try:
        user = getpass.getuser()
    except (OSError, KeyError):  # a uid without a name
        user = str(os.getuid())
    return f"{user}@{platform.node()}"


class SharedRecords(Struct, kw_only=True):
    """The records of the chosen stacks.

    ``hosts`` says on which host a stack is, ``engines`` the id of the engine of a host. ``say`` is
    told what could not be noted: no deployment is the worse for that.
    """

    deployments: Deployments
    records: LocalRecords
    hosts: Mapping[str, str]
    engines: Mapping[str, str]
    project: str
    by: str
    now: Callable[[], str]
    say: Callable[[str], None]
    known: dict[str, SharedRecord] = field(default_factory=dict)

    def tag(self, stack: str) -> str:
        host = self.hosts[stack]
        return tag_of(host, stack, self.engines[host], self.project)

    def read(self) -> None:
        """Read what the registry knows, and have this machine's records say the same.

        Raises:
            RegistryError: it cannot be asked.

        """
        # An engine that does not answer has no id, so nothing can be looked up of it.
        stacks = [stack for stack, host in self.hosts.items() if host in self.engines]
        records = in_threads(lambda stack: self.deployments.read(self.tag(stack)), stacks)
        self.known = {
            stack: record for stack, record in zip(stacks, records, strict=True) if record
        }
        for stack, record in self.known.items():
            self.records.informed(stack, record)

    def read_if_possible(self) -> None:
        """The same; without the registry, what this machine knows has to do."""
        try:
            self.read()
        except OcbuildError as error:
            self.say(f"note: the registry does not tell what runs: {error.message}")

    def keep(self, stack: str) -> None:
        """Have the registry know what this machine's records say of a stack."""
        history = self.records.history(stack)
        if history.current is None or self.hosts[stack] not in self.engines:
            return
        if history.differs_from(self.known.get(stack)):
            self._write(stack, data=True)

    def removed(self, stack: str, *, data: bool) -> None:
        """Note that the stack was taken down; ``data``: its volumes are still there.

        Its record stays, and says so: what is missing would say nothing to other machines.
        """
        if self.hosts[stack] in self.engines:
            self._write(stack, data=data)

    def secrets_in_use(self) -> SharedRecord | None:
        """A stack that was brought up with secrets that this machine may not have."""
        return with_volumes(self.known.values())

    def _write(self, stack: str, *, data: bool) -> None:
        host = self.hosts[stack]
        now, before = self.records.history(stack).shared()
        record = SharedRecord(
            host=host,
            stack=stack,
            engine=self.engines[host],
            project=self.project,
            at=self.now(),
            by=self.by,
            now=now,
            before=before,
            data=data,
        )
        try:
            self.deployments.write(record)
        except OcbuildError as error:
            self.say(
                "note: the registry does not know what runs now, so prune may delete it:"
                f" {error.message}"
            )
        else:
            self.known[stack] = record
