"""The commands deploy, down, rollback and logs: settings and a release meet the hosts."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from builder.clock import Clock, SystemClock
from builder.config import Config
from builder.deploy import environment, marks, networks, pins
from builder.deploy.compose import Engine
from builder.deploy.order import Order, chosen
from builder.deploy.records import Records
from builder.deploy.rollout import Outcome, Roller, Rollout, changed_services, is_well
from builder.errors import DeployError, InterruptedRunError, OcbuildError, UsageError
from builder.execute import signals
from builder.options import DeployOptions, TreeOptions
from builder.registry.client import Registry
from builder.registry.releases import Releases
from builder.release import Release
from builder.settings_deploy import Stack
from builder.state import state_dir
from builder.tree import load_config, registry_host

# Stacks that are rendered side by side: each is a program that waits little and works little.
_AT_ONCE = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
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
        name = config.project.name or config.project.namespace.replace("/", "-")
        records = Records(state_dir(environ) / "deploy" / name)
        return cls(config=config, stacks=stacks, engines=engines, records=records, cancel=cancel)

    def engine(self, stack: str) -> Engine:
        return self.engines[self.stacks[stack].host]

    def reach(self) -> None:
        for name in sorted(self.engines):
            self.engines[name].reach()

    def now(self) -> str:
        at = datetime.fromtimestamp(self.clock.now(), timezone.utc)
        return at.isoformat(timespec="seconds").replace("+00:00", "Z")


def deploy(tree: TreeOptions, options: DeployOptions, environ: Mapping[str, str]) -> int:
    """Bring the chosen stacks to a release; nothing is started unless all of it can be."""
    site = Site.open(tree, options, environ)
    begun = site.clock.monotonic()
    host = registry_host(site.config)
    with Registry.connect(environ, clock=site.clock) as registry:
        releases = Releases(registry, host=host, namespace=site.config.project.namespace)
        release = releases.read(options.release)
    site.reach()
    rendered = _render(site, release, host, options)
    _provide_networks(site, rendered, dry_run=options.dry_run)
    if options.dry_run:
        return _show_plan(site, rendered, release)
    roller = Roller(records=site.records, say=_say, now=site.now, timeout=options.timeout)

    def roll(stack: str) -> Rollout:
        return roller.roll(stack, site.engine(stack), rendered[stack], release.tag)

    with signals(site.cancel, threading.Event()):
        rollouts = _in_order(site, roll)
    _mark(site, environ)
    seconds = site.clock.monotonic() - begun
    bad = [one for one in rollouts if not one.outcome.good]
    _say(f"{release.tag}: {len(rollouts) - len(bad)} of {len(rollouts)} stacks up, {seconds:.1f} s")
    return _exit_code(site, rollouts)


def _mark(site: Site, environ: Mapping[str, str]) -> None:
    """Tell the registry what runs; a deployment is none the worse if that does not succeed."""
    host, namespace = registry_host(site.config), site.config.project.namespace
    try:
        with Registry.connect(environ, clock=site.clock) as registry:
            shelf = Releases(registry, host=host, namespace=namespace).repository
            lost = marks.put(registry, shelf, marks.wanted(site.records, site.stacks))
    except OcbuildError as error:
        _say(f"note: the registry does not know what runs now, so prune may delete it: {error}")
        return
    for release in lost:
        _say(f"note: the registry no longer has the release {release}, which runs or ran before")


def _exit_code(site: Site, rollouts: Sequence[Rollout]) -> int:
    if site.cancel.is_set():
        return InterruptedRunError.exit_code
    return 0 if all(one.outcome.good for one in rollouts) else DeployError.exit_code


def _render(
    site: Site, release: Release, host: str, options: DeployOptions
) -> dict[str, dict[str, Any]]:
    """Every chosen stack, whole and pinned."""
    variables = pins.variables(release, host)
    env_files = {name: _env_file(stack.file.parent, options) for name, stack in site.stacks.items()}

    def render(name: str) -> dict[str, Any]:
        stack = site.stacks[name]
        compose = site.engine(name).render(stack.file, env_files[name], variables)
        for service, image in pins.pinned(name, compose, release, host).items():
            compose["services"][service]["image"] = image
        return compose

    with ThreadPoolExecutor(max_workers=_AT_ONCE) as pool:
        return dict(zip(site.stacks, pool.map(render, site.stacks), strict=True))


def _env_file(folder: Path, options: DeployOptions) -> Path | None:
    if options.env_file is not None:
        return options.env_file
    existed = (folder / environment.FILE).exists()
    file = environment.ensure(folder)
    if file is not None and not existed:
        _say(f"wrote {file} with new secrets; keep it")
    return file


def _provide_networks(
    site: Site, rendered: Mapping[str, Mapping[str, Any]], *, dry_run: bool
) -> None:
    done: set[tuple[str, str]] = set()
    hosts = len({stack.host for stack in site.config.deploy.stacks.values()})
    for name, compose in rendered.items():
        engine = site.engine(name)
        for network, described in networks.wanted(compose, site.config.deploy.networks).items():
            if (engine.host.name, network) in done:
                continue
            done.add((engine.host.name, network))
            networks.provide(engine, network, described, hosts=hosts, dry_run=dry_run, say=_say)


def _show_plan(site: Site, rendered: Mapping[str, Mapping[str, Any]], release: Release) -> int:
    for name in listed(site):
        compose = rendered[name]
        before = site.records.current(name)
        changed = changed_services(compose, before.compose if before else None)
        if not changed and is_well(compose, site.engine(name).containers(compose)):
            _say(f"{name:20} unchanged")
        else:
            _say(f"{name:20} would be started: {', '.join(changed) or 'what is not well'}")
    _say(f"release {release.tag}; nothing was changed")
    return 0


def listed(site: Site) -> list[str]:
    """The stacks in an order in which they can come up."""
    order = Order(site.stacks)
    found: list[str] = []
    while order.active:
        for name in order.ready():
            found.append(name)
            order.done(name)
    return found


def _in_order(site: Site, roll: Callable[[str], Rollout]) -> list[Rollout]:
    """Work on stacks side by side, each as soon as those that it needs are up."""
    order = Order(site.stacks)
    finished: list[Rollout] = []
    with ThreadPoolExecutor(max_workers=max(1, len(site.stacks))) as pool:
        running: dict[Future[Rollout], tuple[str, float]] = {}
        while order.active:
            for name in order.ready():
                if order.blocked(name) or site.cancel.is_set():
                    finished.append(Rollout(stack=name, outcome=Outcome.BLOCKED))
                    why = (
                        "a stack that it needs is not up" if order.blocked(name) else "interrupted"
                    )
                    _say(f"{name:20} not started: {why}")
                    order.failed(name)
                    continue
                running[pool.submit(roll, name)] = (name, site.clock.monotonic())
            if not running:
                continue
            done, _ = wait(running, return_when=FIRST_COMPLETED)
            for future in done:
                name, begun = running.pop(future)
                rollout = _result(name, future)
                finished.append(rollout)
                _show(rollout, site.clock.monotonic() - begun)
                (order.done if rollout.outcome.good else order.failed)(name)
    return finished


def _result(name: str, future: Future[Rollout]) -> Rollout:
    try:
        return future.result()
    except OcbuildError as error:
        return Rollout(stack=name, outcome=Outcome.FAILED, reasons=(str(error),))


def _show(rollout: Rollout, seconds: float) -> None:
    changed = f": {', '.join(rollout.changed)}" if rollout.changed else ""
    _say(f"{rollout.stack:20} {rollout.outcome.value} ({seconds:.1f} s){changed}")
    for line in rollout.reasons:
        _say(f"  {line}")


def down(
    tree: TreeOptions, options: DeployOptions, environ: Mapping[str, str], *, volumes: bool
) -> int:
    """Remove the containers of the chosen stacks, those that need others first."""
    site = Site.open(tree, options, environ)
    site.reach()
    bad = 0
    for name in reversed(listed(site)):
        deployment = site.records.current(name)
        if deployment is None:
            _say(f"{name:20} not deployed")
            continue
        heard: list[str] = []
        if site.engine(name).down(deployment.compose, heard.append, volumes=volumes):
            site.records.removed(name)
            _say(f"{name:20} down{', its volumes removed' if volumes else ''}")
        else:
            bad += 1
            _say(f"{name:20} cannot be taken down")
            for line in heard[-5:]:
                _say(f"  {line}")
    return DeployError.exit_code if bad else 0


def rollback(tree: TreeOptions, options: DeployOptions, environ: Mapping[str, str]) -> int:
    """Bring each chosen stack back to what ran before its last change."""
    site = Site.open(tree, options, environ)
    recorded = {name: site.records.previous(name) for name in site.stacks}
    previous = {name: one for name, one in recorded.items() if one is not None}
    if not previous:
        raise DeployError("nothing ran before: there is nothing to go back to")
    site.reach()
    site = replace(site, stacks={name: site.stacks[name] for name in previous})
    roller = Roller(records=site.records, say=_say, now=site.now, timeout=options.timeout)

    def roll(stack: str) -> Rollout:
        before = previous[stack]
        return roller.roll(stack, site.engine(stack), before.compose, before.release)

    with signals(site.cancel, threading.Event()):
        rollouts = _in_order(site, roll)
    _mark(site, environ)
    return _exit_code(site, rollouts)


def logs(
    tree: TreeOptions, options: DeployOptions, environ: Mapping[str, str], words: Sequence[str]
) -> int:
    """The logs of the chosen stacks, one after the other."""
    site = Site.open(tree, options, environ)
    code = 0
    for name in listed(site):
        deployment = site.records.current(name)
        if deployment is not None:
            code |= site.engine(name).follow(deployment.compose, words, _print)
    return DeployError.exit_code if code else 0


def _print(line: str) -> None:
    sys.stdout.write(line + "\n")


_told = threading.Lock()


def _say(text: str) -> None:
    with _told:
        sys.stderr.write(text.rstrip() + "\n")
        sys.stderr.flush()
