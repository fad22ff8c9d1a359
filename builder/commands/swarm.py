"""The commands deploy init and deploy join: the hosts of build.toml become one swarm."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

from builder.config.deploy_sections import Host
from builder.config.load import Config
from builder.core.errors import OcbuildError, UsageError, did_you_mean
from builder.core.options import SwarmOptions, TreeOptions
from builder.deploy.compose import Engine
from builder.deploy.swarm import Member, init, join, manager_of
from builder.system.clock import SystemClock
from builder.tree.read import load_config

_CONTROLLER = "controller"
# How long, and how often, the manager is asked for a host that has just joined.
_SETTLE_SECONDS = 30.0
_PAUSE_SECONDS = 0.2


def make(tree: TreeOptions, options: SwarmOptions, environ: Mapping[str, str]) -> int:
    """Make a swarm on the controller."""
    config = load_config(tree)
    host = _controller(config, options.hosts)
    member = _look([host], environ)[0]
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


def enter(tree: TreeOptions, options: SwarmOptions, environ: Mapping[str, str]) -> int:
    """Have the chosen hosts, by default all, join the swarm of the one that manages it."""
    config = load_config(tree)
    hosts = list(config.deploy.hosts.values())
    wanted = [_host(config, name) for name in options.hosts] or hosts
    looked = dict(zip((host.name for host in hosts), _look(hosts, environ), strict=True))
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


def _controller(config: Config, named: Sequence[str]) -> Host:
    if named:
        return _host(config, named[0])
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


def _look(hosts: Sequence[Host], environ: Mapping[str, str]) -> list[Member | OcbuildError]:
    """Each of them, asked side by side, or what is wrong with it."""

    def one(host: Host) -> Member | OcbuildError:
        engine = Engine(host=host, environ=environ)
        try:
            engine.reach()
            return Member.look(host, engine.api)
        except OcbuildError as error:
            return error

    with ThreadPoolExecutor(max_workers=len(hosts)) as pool:
        return list(pool.map(one, hosts))


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


def _say(text: str) -> None:
    sys.stderr.write(text + "\n")
