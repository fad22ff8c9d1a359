"""The commands ``deploy`` and its like, and the swarm that they need: build.toml meets hosts."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Mapping
from typing import Any

from msgspec.structs import replace

from builder.core.deploy.projects import (
    check_projects,
    foreign_project,
    leftovers,
    moved_project,
    strangers,
)
from builder.core.deploy.records import Deployment
from builder.core.deploy.rollout import Rollout, exit_code, plan_line, sum_line
from builder.core.deploy.swarm import manager_of
from builder.core.errors import DeployError, OcbuildError, UsageError
from builder.core.options import DeployOptions, DownOptions, LogsOptions, SwarmOptions, TreeOptions
from builder.core.release import Release
from builder.core.settings.config import Config
from builder.core.settings.sections import Host
from builder.deploy.compose import look
from builder.deploy.networks import SwarmMember, init, join, members_of, settle
from builder.deploy.prepare import Preparation
from builder.deploy.project import DeployedProject, env_files_of, host_of
from builder.deploy.rollout import Roller, rolled_out
from builder.deploy.shared_record import SharedRecords, shared_records
from builder.run.execute import signals
from builder.tree.read import load_config

_CONTROLLER = "controller"


def deploy(tree: TreeOptions, options: DeployOptions, environ: Mapping[str, str]) -> int:
    """Bring the chosen stacks to a release; nothing is started unless all of it can be."""
    project = DeployedProject.open(tree, options, environ)
    begun = project.clock.monotonic()
    with shared_records(project, environ, _say) as (shared, releases):
        release = releases.read(options.release)
        project.reach()
        shared.read()
        env_files = env_files_of(project, options, shared.secrets_in_use, _say)
        preparation = Preparation(
            project=project,
            environ=environ,
            env_files=env_files,
            say=_say,
            dry_run=options.dry_run,
        )
        rendered = preparation.stacks(release)
        preparation.complete_records()
        _check_projects(project, rendered)
        if options.dry_run:
            return _show_plan(project, rendered, release)
        with signals(project.cancel, threading.Event()):
            preparation.pull(release, rendered)
        wanted = {name: (compose, release.tag) for name, compose in rendered.items()}
        rollouts = _roll(project, options, shared, wanted)
    _say(sum_line(release.tag, rollouts, project.clock.monotonic() - begun))
    return exit_code(rollouts, interrupted=project.cancel.is_set())


def _roll(
    project: DeployedProject,
    options: DeployOptions,
    shared: SharedRecords,
    wanted: Mapping[str, tuple[Mapping[str, Any], str]],
) -> list[Rollout]:
    """Bring each stack to what is wanted, of which release, and have the registry know at once."""
    roller = Roller(
        records=project.records, say=_say, now=project.now, timeout=options.timeout, by=shared.by
    )
    with signals(project.cancel, threading.Event()):
        return rolled_out(project, roller, wanted, shared.keep)


def _check_projects(project: DeployedProject, wanted: Mapping[str, Mapping[str, Any]]) -> None:
    """See that nothing is in the way that is not ours, and nothing of ours is left behind.

    Raises:
        DeployError: something is.

    """
    records, recorded = project.records, dict[str, tuple[str, str]]()
    for name, stack in project.config.deploy.stacks.items():
        last = records.deployed_last(name)
        if last is not None:
            recorded[name] = (stack.host, last.project)
    places = {name: (project.stacks[name].host, str(wanted[name]["name"])) for name in wanted}
    for name, place in places.items():
        if place != recorded.get(name, place):
            raise moved_project(name, recorded[name][1], place[1])
    check_projects({**recorded, **places})
    for name, (host, own) in places.items():
        found = look(project.engine(name), [own])[own]
        if others := strangers((one.container for one in found), own, records.known(name)):
            raise foreign_project(name, own, host, others)


def _show_plan(
    project: DeployedProject, rendered: Mapping[str, Mapping[str, Any]], release: Release
) -> int:
    for name in project.listed():
        compose, records = rendered[name], project.records
        engine, current = project.engine(name), records.current(name)
        containers = engine.containers(compose)
        in_doubt = bool(records.intended(name) or engine.without_network(compose))
        gone = leftovers(containers, compose, records.known(name))
        _say(plan_line(name, compose, current, containers, gone=gone, in_doubt=in_doubt))
    _say(f"release {release.tag}; nothing was changed")
    return 0


def down(
    tree: TreeOptions, options: DeployOptions, extent: DownOptions, environ: Mapping[str, str]
) -> int:
    """Remove the containers of the chosen stacks, those that need others first."""
    project = DeployedProject.open(tree, options, environ)
    project.reach()
    bad = 0
    with shared_records(project, environ, _say) as (shared, _):
        shared.read_if_possible()
        for name in reversed(project.listed()):
            deployment = project.records.deployed_last(name)
            if deployment is None:
                _say(f"{name:20} not deployed")
                continue
            heard: list[str] = []
            if _is_down(project, name, deployment, heard.append, volumes=extent.volumes):
                project.records.removed(name)
                _say(f"{name:20} down{', its volumes removed' if extent.volumes else ''}")
                shared.removed(name, data=not extent.volumes)
            else:
                bad += 1
                _say(f"{name:20} cannot be taken down")
                for line in heard[-5:]:
                    _say(f"  {line}")
    return DeployError.exit_code if bad else 0


def _is_down(
    project: DeployedProject,
    name: str,
    deployment: Deployment,
    on_line: Callable[[str], None],
    *,
    volumes: bool,
) -> bool:
    """Take down what runs of a stack and what was about to; whether that succeeded."""
    compose, engine = deployment.compose, project.engine(name)
    if not deployment.is_ours and not project.may_be(name, deployment.project):
        on_line(
            f'the registry says that it is the compose project "{deployment.project}", which its'
            " file here cannot be: it is taken down from the tree that deployed it"
        )
        return False
    engine.remove(leftovers(engine.containers(compose), compose, project.records.known(name)))
    return engine.down(compose, on_line, volumes=volumes)


def rollback(tree: TreeOptions, options: DeployOptions, environ: Mapping[str, str]) -> int:
    """Bring each chosen stack back to what ran before its last change."""
    project = DeployedProject.open(tree, options, environ)
    project.reach()
    with shared_records(project, environ, _say) as (shared, _):
        shared.read_if_possible()
        recorded = {name: project.records.back(name) for name in project.stacks}
        if all(one is None for one in recorded.values()):
            raise DeployError("nothing ran before: there is nothing to go back to")
        stacks = {name: project.stacks[name] for name, one in recorded.items() if one}
        project = replace(project, stacks=stacks)
        if any(one is not None and not one.complete for one in recorded.values()):
            env_files = env_files_of(project, options, shared.secrets_in_use, _say)
            Preparation(
                project=project, environ=environ, env_files=env_files, say=_say
            ).complete_records()
        wanted: dict[str, tuple[Mapping[str, Any], str]] = {}
        for name in project.stacks:
            before = project.records.back(name)
            if before is not None:
                wanted[name] = before.checked(name).compose, before.release
        _check_projects(project, {name: compose for name, (compose, _) in wanted.items()})
        rollouts = _roll(project, options, shared, wanted)
    return exit_code(rollouts, interrupted=project.cancel.is_set())


def logs(
    tree: TreeOptions, options: DeployOptions, shown: LogsOptions, environ: Mapping[str, str]
) -> int:
    """The logs of the chosen stacks, one after the other."""
    words = [f"--tail={shown.tail}", *(["--follow"] if shown.follow else [])]
    project = DeployedProject.open(tree, options, environ)
    with shared_records(project, environ, _say) as (shared, _):
        shared.read_if_possible()
    code = 0
    for name in project.listed():
        deployment = project.records.current(name)
        if deployment is not None:
            code |= project.engine(name).follow(deployment.compose, words, _print)
    return DeployError.exit_code if code else 0


# --- the swarm ----------------------------------------------------------------------------------


def make_swarm(tree: TreeOptions, options: SwarmOptions, environ: Mapping[str, str]) -> int:
    """Make a swarm on the controller."""
    config = load_config(tree)
    host = _controller(config, options.host)
    member = members_of([host], environ)[0]
    if isinstance(member, OcbuildError):
        raise member
    said, _ = init(
        member,
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
    wanted = [host_of(config, name) for name in options.hosts] or hosts
    looked = dict(zip((host.name for host in hosts), members_of(hosts, environ), strict=True))
    # A host that is asked for has to answer; of the others, those that do not are no managers.
    members = {name: one for name, one in looked.items() if isinstance(one, SwarmMember)}
    for host in wanted:
        if isinstance(error := looked[host.name], OcbuildError):
            raise error
    manager = manager_of(list(members.values()))
    joining = [members[host.name] for host in wanted if host.name != manager.host.name]
    # Whoever is in another swarm is known before any of them joins.
    for member in [one for one in joining if one.is_in_swarm]:
        join(manager, member, dry_run=True, settle=settle)
    for member in joining:
        said, _ = join(manager, member, dry_run=options.dry_run, settle=settle)
        _say(f"{member.host.name:20} {said}")
    if not joining:
        _say("there is no other host")
    return 0


def _controller(config: Config, named: str | None) -> Host:
    if named:
        return host_of(config, named)
    hosts = config.deploy.hosts
    if _CONTROLLER in hosts or len(hosts) == 1:
        return hosts.get(_CONTROLLER) or next(iter(hosts.values()))
    raise UsageError(
        f"which host is to manage the swarm: {', '.join(sorted(hosts))}?",
        hint=f'name it by --host; one that is called "{_CONTROLLER}" need not be named',
    )


def _print(line: str) -> None:
    sys.stdout.write(line + "\n")


_saying = threading.Lock()


def _say(text: str) -> None:
    with _saying:
        sys.stderr.write(text.rstrip() + "\n")
        sys.stderr.flush()
