"""The commands ``deploy`` and its like, and the swarm that they need: build.toml meets hosts."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import Any

from msgspec.structs import replace

from builder.core.errors import (
    DeployError,
    InterruptedRunError,
    OcbuildError,
    UsageError,
    did_you_mean,
)
from builder.core.options import DeployOptions, DownOptions, LogsOptions, SwarmOptions, TreeOptions
from builder.core.release import Release
from builder.core.settings.config import Config
from builder.core.settings.sections import Host
from builder.deploy.compose import Engine
from builder.deploy.ground import Ground
from builder.deploy.memory import Memory, memory_of
from builder.deploy.order import Order
from builder.deploy.rollout import Outcome, Roller, Rollout, changed_services, is_well
from builder.deploy.site import Site
from builder.deploy.swarm import Member, init, join, manager_of
from builder.deploy.whole import complete, env_files_of, whole
from builder.run.execute import signals
from builder.system import threads
from builder.system.clock import SystemClock
from builder.tree.read import load_config

_CONTROLLER = "controller"
# How long, and how often, the manager is asked for a host that has just joined.
_SETTLE_SECONDS = 30.0
_PAUSE_SECONDS = 0.2


def deploy(tree: TreeOptions, options: DeployOptions, environ: Mapping[str, str]) -> int:
    """Bring the chosen stacks to a release; nothing is started unless all of it can be."""
    site = Site.open(tree, options, environ)
    begun = site.clock.monotonic()
    with memory_of(site, environ, _say) as (memory, releases):
        release = releases.read(options.release)
        site.reach()
        memory.adopt()
        env_files = env_files_of(site, options, memory, _say)
        ground = Ground(
            site=site, environ=environ, env_files=env_files, say=_say, dry_run=options.dry_run
        )
        rendered = ground.stacks(release)
        complete(site, ground)
        if options.dry_run:
            return _show_plan(site, rendered, release)
        with signals(site.cancel, threading.Event()):
            ground.pull(release, rendered)
        rollouts = _roll(
            site, options, memory, {name: (one, release.tag) for name, one in rendered.items()}
        )
    seconds = site.clock.monotonic() - begun
    bad = [one for one in rollouts if not one.outcome.good]
    _say(f"{release.tag}: {len(rollouts) - len(bad)} of {len(rollouts)} stacks up, {seconds:.1f} s")
    return _exit_code(site, rollouts)


def _roll(
    site: Site,
    options: DeployOptions,
    memory: Memory,
    wanted: Mapping[str, tuple[Mapping[str, Any], str]],
) -> list[Rollout]:
    """Bring each stack to what is wanted, of which release, and have the registry know at once."""
    roller = Roller(
        records=site.records, say=_say, now=site.now, timeout=options.timeout, by=memory.by
    )

    def roll(stack: str) -> Rollout:
        compose, release = wanted[stack]
        rollout = roller.roll(stack, site.engine(stack), compose, release)
        memory.keep(stack)
        return rollout

    with signals(site.cancel, threading.Event()):
        return _in_order(site, roll)


def _exit_code(site: Site, rollouts: Sequence[Rollout]) -> int:
    if site.cancel.is_set():
        return InterruptedRunError.exit_code
    return 0 if all(one.outcome.good for one in rollouts) else DeployError.exit_code


def _show_plan(site: Site, rendered: Mapping[str, Mapping[str, Any]], release: Release) -> int:
    for name in site.listed():
        compose = rendered[name]
        before = site.records.current(name)
        changed = changed_services(compose, before.compose if before else None)
        if not changed and is_well(compose, site.engine(name).containers(compose)):
            _say(f"{name:20} unchanged")
        else:
            _say(f"{name:20} would be started: {', '.join(changed) or 'what is not well'}")
    _say(f"release {release.tag}; nothing was changed")
    return 0


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
    tree: TreeOptions, options: DeployOptions, extent: DownOptions, environ: Mapping[str, str]
) -> int:
    """Remove the containers of the chosen stacks, those that need others first."""
    site = Site.open(tree, options, environ)
    site.reach()
    bad = 0
    with memory_of(site, environ, _say) as (memory, _):
        memory.adopt_if_told()
        for name in reversed(site.listed()):
            deployment = site.records.current(name)
            if deployment is None:
                _say(f"{name:20} not deployed")
                continue
            heard: list[str] = []
            if site.engine(name).down(deployment.compose, heard.append, volumes=extent.volumes):
                site.records.removed(name)
                _say(f"{name:20} down{', its volumes removed' if extent.volumes else ''}")
                memory.removed(name, data=not extent.volumes)
            else:
                bad += 1
                _say(f"{name:20} cannot be taken down")
                for line in heard[-5:]:
                    _say(f"  {line}")
    return DeployError.exit_code if bad else 0


def rollback(tree: TreeOptions, options: DeployOptions, environ: Mapping[str, str]) -> int:
    """Bring each chosen stack back to what ran before its last change."""
    site = Site.open(tree, options, environ)
    site.reach()
    with memory_of(site, environ, _say) as (memory, _):
        memory.adopt_if_told()
        recorded = {name: site.records.previous(name) for name in site.stacks}
        if all(one is None for one in recorded.values()):
            raise DeployError("nothing ran before: there is nothing to go back to")
        site = replace(
            site, stacks={name: site.stacks[name] for name, one in recorded.items() if one}
        )
        if any(one is not None and not one.whole for one in recorded.values()):
            env_files = env_files_of(site, options, memory, _say)
            complete(site, Ground(site=site, environ=environ, env_files=env_files, say=_say))
        wanted: dict[str, tuple[Mapping[str, Any], str]] = {}
        for name in site.stacks:
            before = site.records.previous(name)
            if before is not None:
                wanted[name] = whole(name, before).compose, before.release
        rollouts = _roll(site, options, memory, wanted)
    return _exit_code(site, rollouts)


def logs(
    tree: TreeOptions, options: DeployOptions, shown: LogsOptions, environ: Mapping[str, str]
) -> int:
    """The logs of the chosen stacks, one after the other."""
    words = [f"--tail={shown.tail}", *(["--follow"] if shown.follow else [])]
    site = Site.open(tree, options, environ)
    with memory_of(site, environ, _say) as (memory, _):
        memory.adopt_if_told()
    code = 0
    for name in site.listed():
        deployment = site.records.current(name)
        if deployment is not None:
            code |= site.engine(name).follow(deployment.compose, words, _print)
    return DeployError.exit_code if code else 0


# --- the swarm ----------------------------------------------------------------------------------


def make_swarm(tree: TreeOptions, options: SwarmOptions, environ: Mapping[str, str]) -> int:
    """Make a swarm on the controller."""
    config = load_config(tree)
    host = _controller(config, options.host)
    member = _ask([host], environ)[0]
    found = member if isinstance(member, Member) else _raise(member)
    said, _ = init(
        found,
        address=options.advertise_addr or host.address,
        data_address=options.data_path_addr or host.data_address,
        dry_run=options.dry_run,
    )
    _say(f"{host.name:20} {said}")
    others = [name for name in config.deploy.hosts if name != host.name]
    if others:
        _say(f"`ocbuild deploy join` takes in {', '.join(others)}")
    return 0


def join_swarm(tree: TreeOptions, options: SwarmOptions, environ: Mapping[str, str]) -> int:
    """Have the chosen hosts, by default all, join the swarm of the one that manages it."""
    config = load_config(tree)
    hosts = list(config.deploy.hosts.values())
    wanted = [_host(config, name) for name in options.hosts] or hosts
    looked = dict(zip((host.name for host in hosts), _ask(hosts, environ), strict=True))
    # A host that is asked for has to answer; of the others, those that do not are no managers.
    members = {name: one for name, one in looked.items() if isinstance(one, Member)}
    for host in wanted:
        if isinstance(error := looked[host.name], OcbuildError):
            raise error
    manager = manager_of(list(members.values()))
    joining = [members[host.name] for host in wanted if host.name != manager.host.name]
    # Whoever is in another swarm is known before any of them joins.
    for member in [one for one in joining if one.is_in_swarm]:
        join(manager, member, dry_run=True, settle=_settle)
    for member in joining:
        said, _ = join(manager, member, dry_run=options.dry_run, settle=_settle)
        _say(f"{member.host.name:20} {said}")
    if not joining:
        _say("there is no other host")
    return 0


def _controller(config: Config, named: str | None) -> Host:
    if named:
        return _host(config, named)
    hosts = config.deploy.hosts
    if _CONTROLLER in hosts or len(hosts) == 1:
        return hosts.get(_CONTROLLER) or next(iter(hosts.values()))
    raise UsageError(
        f"which host is to manage the swarm: {', '.join(sorted(hosts))}?",
        hint=f'name it by --host; one that is called "{_CONTROLLER}" need not be named',
    )


def _host(config: Config, name: str) -> Host:
    hosts = config.deploy.hosts
    if name not in hosts:
        raise UsageError(
            f'there is no host "{name}"',
            hint=did_you_mean(name, hosts) or f"the hosts are {', '.join(sorted(hosts))}",
        )
    return hosts[name]


def _ask(hosts: Sequence[Host], environ: Mapping[str, str]) -> list[Member | OcbuildError]:
    """Each of them, asked side by side, or what is wrong with it."""

    def one(host: Host) -> Member | OcbuildError:
        engine = Engine(host=host, environ=environ)
        try:
            engine.reach()
            return Member.look(host, engine.api)
        except OcbuildError as error:
            return error

    return threads.each(one, hosts, at_once=len(hosts))


def _raise(error: OcbuildError) -> Member:
    raise error


def _settle(condition: Callable[[], bool]) -> bool:
    clock, pause = SystemClock(), threading.Event()
    end = clock.monotonic() + _SETTLE_SECONDS
    while not condition():
        if clock.monotonic() >= end:
            return False
        clock.wait(pause, _PAUSE_SECONDS)
    return True


def _print(line: str) -> None:
    sys.stdout.write(line + "\n")


_told = threading.Lock()


def _say(text: str) -> None:
    with _told:
        sys.stderr.write(text.rstrip() + "\n")
        sys.stderr.flush()
