"""What is known of stacks: the registry's records, which all machines share, and this machine's.

The registry is right. This machine's records hold more, whole compose files with their secrets;
they count for as long as nobody deployed from elsewhere.
"""

from __future__ import annotations

import getpass
import os
import platform
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

from msgspec import Struct, field

from builder.core.errors import DeployError, EngineUnavailableError, OcbuildError
from builder.core.settings.config import registry_host
from builder.deploy.compose import Engine
from builder.deploy.records import Deployment, Records
from builder.deploy.site import Site
from builder.publish.deployments import Brought, Deployments, Entry, tag_of
from builder.publish.store import Releases
from builder.system import threads

_AT_ONCE = 8


def skeleton(compose: Mapping[str, Any]) -> dict[str, Any]:
    """What is needed to find, count and remove what was deployed; no environment, no command."""
    services = {
        name: {key: service[key] for key in ("image", "restart", "network_mode") if key in service}
        | _volumes(service)
        for name, service in compose["services"].items()
    }
    found: dict[str, Any] = {"name": compose["name"], "services": services}
    for kind in ("volumes", "networks"):
        if some := compose.get(kind):
            found[kind] = {
                key: {word: one[word] for word in ("name", "external") if word in (one or {})}
                for key, one in some.items()
            }
    return found


def _volumes(service: Mapping[str, Any]) -> dict[str, Any]:
    """Compose forgets volumes that no service uses, and would not remove them."""
    used = [
        {key: one[key] for key in ("type", "source", "target")}
        for one in service.get("volumes") or ()
        if one.get("type") == "volume" and one.get("source")
    ]
    return {"volumes": used} if used else {}


def identity(engine: Engine) -> str:
    """What tells the engine of this host from all others.

    Raises:
        DeployError: it does not answer.

    """
    asked = engine.docker("info", "--format", "{{.ID}}")
    found = asked.text.strip()
    if asked.returncode != 0 or not found:
        raise DeployError(f'host "{engine.host.name}": {asked.complaint(lines=2)}')
    return found


@contextmanager
def memory_of(
    site: Site, environ: Mapping[str, str], say: Callable[[str], None]
) -> Iterator[tuple[Memory, Releases]]:
    """The memory of a site, and the releases beside it; of the registry nothing is asked yet."""
    host, namespace = registry_host(site.config), site.config.project.namespace
    engines: dict[str, str] = {}
    for name, engine in site.engines.items():
        with suppress(DeployError, EngineUnavailableError):
            engines[name] = identity(engine)
    with site.registry(environ) as registry:
        releases = Releases(registry, host=host, namespace=namespace)
        memory = Memory(
            deployments=Deployments(registry, releases.repository),
            records=site.records,
            hosts={name: stack.host for name, stack in site.stacks.items()},
            engines=engines,
            project=site.project,
            by=_who(),
            now=site.now,
            say=say,
        )
        yield memory, releases


def _who() -> str:
    try:
        user = getpass.getuser()
    except (OSError, KeyError):  # a uid without a name
        user = str(os.getuid())
    return f"{user}@{platform.node()}"


class Memory(Struct, kw_only=True):
    """The records of the chosen stacks; ``hosts`` says on which host, ``engines`` by which engine.

    ``say`` is told what could not be remembered: no deployment is the worse for that.
    """

    deployments: Deployments
    records: Records
    hosts: Mapping[str, str]
    engines: Mapping[str, str]
    project: str
    by: str
    now: Callable[[], str]
    say: Callable[[str], None]
    entries: dict[str, Entry] = field(default_factory=dict)

    def tag(self, stack: str) -> str:
        host = self.hosts[stack]
        return tag_of(host, stack, self.engines[host], self.project)

    def adopt(self) -> None:
        """Read what the registry knows, and have this machine's records say the same.

        Raises:
            RegistryError: it cannot be asked.

        """
        # An engine that does not answer has no name, so nothing can be looked up of it.
        stacks = [stack for stack, host in self.hosts.items() if host in self.engines]
        read = threads.each(
            lambda stack: self.deployments.read(self.tag(stack)), stacks, at_once=_AT_ONCE
        )
        self.entries = {stack: entry for stack, entry in zip(stacks, read, strict=True) if entry}
        for stack, entry in self.entries.items():
            adopt(self.records, stack, entry)

    def adopt_if_told(self) -> None:
        """The same; without the registry, what this machine knows has to do."""
        try:
            self.adopt()
        except OcbuildError as error:
            self.say(f"note: the registry does not tell what runs: {error.message}")

    def keep(self, stack: str) -> None:
        """Have the registry know what this machine's records say of a stack."""
        current = self.records.current(stack)
        if current is None or self.hosts[stack] not in self.engines:
            return
        previous = self.records.previous(stack)
        now, before = _brought(current), _brought(previous) if previous else None
        entry = self.entries.get(stack)
        if entry is not None and (entry.now, entry.before) == (now, before):
            return
        self._write(stack, self._entry(stack, now, before))

    def removed(self, stack: str, *, data: bool) -> None:
        """The stack was taken down; ``data``: its volumes are still there.

        Its record stays, and says so: what is missing would say nothing to other machines.
        """
        if self.hosts[stack] not in self.engines:
            return
        previous = self.records.previous(stack)
        before = _brought(previous) if previous else None
        self._write(stack, self._entry(stack, None, before, data=data))

    def secrets_in_use(self) -> Entry | None:
        """A stack that was brought up with secrets that this machine may not have."""
        return next((entry for entry in self.entries.values() if entry.data), None)

    def _entry(
        self, stack: str, now: Brought | None, before: Brought | None, *, data: bool = True
    ) -> Entry:
        host = self.hosts[stack]
        return Entry(
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

    def _write(self, stack: str, entry: Entry) -> None:
        try:
            self.deployments.write(entry)
        except OcbuildError as error:
            self._lost(error)
        else:
            self.entries[stack] = entry

    def _lost(self, error: OcbuildError) -> None:
        self.say(
            "note: the registry does not know what runs now, so prune may delete it:"
            f" {error.message}"
        )


def _brought(one: Deployment) -> Brought:
    return Brought(
        id=one.id, release=one.release, at=one.at, by=one.by, compose=skeleton(one.compose)
    )


def adopt(records: Records, stack: str, entry: Entry) -> None:
    """Have the records of this machine say what the registry does, where that is newer."""
    current = records.current(stack)
    now = entry.now
    if now is None:
        if current is not None and current.at <= entry.at:
            records.removed(stack)
            current = None
        if current is None and entry.before is not None and records.previous(stack) is None:
            records.adopted(stack, None, _deployment(entry.host, entry.before))
        return
    if current is not None and current.id == now.id:
        if current.release != now.release:
            records.renamed(stack, now.release)
        return
    # A deployment of which the registry could not be told is newer than what it knows.
    if current is not None and current.at > now.at:
        return
    before = entry.before
    records.adopted(
        stack,
        _deployment(entry.host, now),
        None if before is None else _whole(current, before) or _deployment(entry.host, before),
    )


def _whole(current: Deployment | None, before: Brought) -> Deployment | None:
    """What ran here before it was deployed from elsewhere is known here in full."""
    return current if current is not None and current.id == before.id else None


def _deployment(host: str, one: Brought) -> Deployment:
    return Deployment(
        release=one.release,
        at=one.at,
        host=host,
        by=one.by,
        id=one.id,
        compose=one.compose,
        whole=False,
    )
