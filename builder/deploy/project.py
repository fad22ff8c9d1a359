"""The project that is deployed: what build.toml says of it, its hosts, and what ran before."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from datetime import datetime, timezone

from msgspec import Struct, field

from builder.core.deploy.rollout import chosen, listed
from builder.core.errors import UsageError, did_you_mean
from builder.core.options import DeployOptions, TreeOptions
from builder.core.settings.config import Config
from builder.core.settings.sections import Host, Stack
from builder.deploy.compose import DockerCommand
from builder.deploy.local_record import LocalRecords
from builder.registry.client import Registry
from builder.system.files import state_dir
from builder.system.process import in_threads
from builder.system.resources import Clock, SystemClock
from builder.tree.read import load_config


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
