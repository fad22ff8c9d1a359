"""The project that is deployed: what build.toml says of it, its hosts, and what ran before."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from datetime import datetime, timezone

from msgspec import Struct, field

from builder.core.errors import UsageError
from builder.core.options import DeployOptions, TreeOptions
from builder.core.settings.config import Config
from builder.core.settings.sections import Stack
from builder.deploy.compose import Engine
from builder.deploy.order import Order, chosen
from builder.deploy.records import Records
from builder.registry.client import Registry
from builder.system import threads
from builder.system.clock import Clock, SystemClock
from builder.system.files import state_dir
from builder.tree.read import load_config


class Site(Struct, frozen=True, kw_only=True):
    """The project that is deployed: its stacks and hosts, and what was deployed before."""

    config: Config
    stacks: Mapping[str, Stack]
    engines: Mapping[str, Engine]
    records: Records
    cancel: threading.Event
    clock: Clock = field(default_factory=SystemClock)

    @classmethod
    def open(cls, tree: TreeOptions, options: DeployOptions, environ: Mapping[str, str]) -> Site:
        """Read build.toml; no host is asked anything yet."""
        config = load_config(tree)
        stacks = chosen(config.deploy.stacks, options.stacks)
        if options.host is not None:
            if options.host not in config.deploy.hosts:
                listed = ", ".join(sorted(config.deploy.hosts))
                raise UsageError(
                    f'there is no host "{options.host}"', hint=f"the hosts are {listed}"
                )
            stacks = {name: one for name, one in stacks.items() if one.host == options.host}
        cancel = threading.Event()
        engines = {
            name: Engine(host=config.deploy.hosts[name], environ=environ, cancel=cancel)
            for name in {stack.host for stack in stacks.values()}
        }
        records = Records(state_dir(environ) / "deploy" / _project(config))
        return cls(config=config, stacks=stacks, engines=engines, records=records, cancel=cancel)

    @property
    def project(self) -> str:
        return _project(self.config)

    def listed(self) -> list[str]:
        """The stacks in an order in which they can come up."""
        order = Order(self.stacks)
        found: list[str] = []
        while order.active:
            for name in order.ready():
                found.append(name)
                order.done(name)
        return found

    def engine(self, stack: str) -> Engine:
        return self.engines[self.stacks[stack].host]

    def reach(self) -> None:
        """Make sure that all hosts answer; they are asked side by side, for one may take long."""
        engines = [self.engines[name] for name in sorted(self.engines)]
        threads.each(Engine.reach, engines, at_once=len(engines))

    def registry(self, environ: Mapping[str, str]) -> Registry:
        plain = frozenset(self.config.publish.plain_http)
        return Registry.connect(environ, clock=self.clock, plain_http=plain)

    def now(self) -> str:
        at = datetime.fromtimestamp(self.clock.now(), timezone.utc)
        return at.isoformat(timespec="seconds").replace("+00:00", "Z")


def _project(config: Config) -> str:
    return config.project.name or config.project.namespace.replace("/", "-")
