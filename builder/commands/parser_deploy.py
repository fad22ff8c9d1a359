"""The arguments of the commands that look after what runs: deploy and its like."""

from __future__ import annotations

import argparse
import math
from collections.abc import Mapping
from pathlib import Path

from builder.commands.parser_shared import Command, json_option, read_tree, tree_options
from builder.core.errors import UsageError
from builder.core.options import DeployOptions, StatusOptions, SwarmOptions

_INTERVAL = 2.0
_SHORTEST_INTERVAL = 0.2


def _deploy_options(parser: argparse.ArgumentParser, *, waits: bool) -> None:
    parser.add_argument("stacks", nargs="*", metavar="STACK", help="default: all of them")
    tree_options(parser)
    parser.add_argument("--host", metavar="NAME", help="only the stacks of this host")
    if waits:
        parser.add_argument(
            "--timeout",
            type=float,
            default=600.0,
            metavar="SECONDS",
            help="how long one stack may take (default: 600)",
        )


def _read_deploy(arguments: argparse.Namespace) -> DeployOptions:
    timeout = float(getattr(arguments, "timeout", 600.0))
    if timeout <= 0:
        raise UsageError(f"--timeout {timeout:g}: it has to be more than nothing")
    return DeployOptions(
        stacks=tuple(arguments.stacks),
        release=getattr(arguments, "release", "latest"),
        host=arguments.host,
        env_file=getattr(arguments, "env_file", None),
        timeout=timeout,
        dry_run=getattr(arguments, "dry_run", False),
    )


def _deploy(parser: argparse.ArgumentParser) -> None:
    _deploy_options(parser, waits=True)
    parser.add_argument(
        "--release", default="latest", metavar="TAG", help="which one (default: latest)"
    )
    parser.add_argument(
        "--env-file",
        type=Path,
        metavar="FILE",
        help="addresses and secrets (default: common.env beside each compose file)",
    )
    parser.add_argument("--dry-run", action="store_true", help="only show what would be started")

    def run(arguments: argparse.Namespace, environ: Mapping[str, str]) -> int:
        from builder.commands.deploy import deploy  # noqa: PLC0415

        return deploy(read_tree(arguments, environ), _read_deploy(arguments), environ)

    parser.set_defaults(run=run)


def _init(parser: argparse.ArgumentParser) -> None:
    tree_options(parser)
    parser.add_argument(
        "--host", metavar="NAME", help='which one (default: "controller", or the only one)'
    )
    for option, what in (("advertise", "the other hosts reach it"), ("data-path", "overlays go")):
        parser.add_argument(
            f"--{option}-addr",
            metavar="ADDRESS",
            help=f"where {what}; an address or an interface (default: as build.toml says)",
        )
    parser.add_argument("--dry-run", action="store_true", help="only show what would be done")

    def run(arguments: argparse.Namespace, environ: Mapping[str, str]) -> int:
        from builder.commands.swarm import make  # noqa: PLC0415

        options = SwarmOptions(
            hosts=(arguments.host,) if arguments.host else (),
            advertise_addr=arguments.advertise_addr,
            data_path_addr=arguments.data_path_addr,
            dry_run=arguments.dry_run,
        )
        return make(read_tree(arguments, environ), options, environ)

    parser.set_defaults(run=run)


def _join(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("hosts", nargs="*", metavar="HOST", help="default: all of them")
    tree_options(parser)
    parser.add_argument("--dry-run", action="store_true", help="only show what would be done")

    def run(arguments: argparse.Namespace, environ: Mapping[str, str]) -> int:
        from builder.commands.swarm import enter  # noqa: PLC0415

        options = SwarmOptions(hosts=tuple(arguments.hosts), dry_run=arguments.dry_run)
        return enter(read_tree(arguments, environ), options, environ)

    parser.set_defaults(run=run)


def _status(parser: argparse.ArgumentParser) -> None:
    _deploy_options(parser, waits=False)
    parser.add_argument(
        "--release", metavar="TAG", help="compare with this release, not with the deployed one"
    )
    parser.add_argument(
        "--watch", action="store_true", help="go on, and show what changes, until interrupted"
    )
    parser.add_argument(
        "--interval",
        type=float,
        metavar="SECONDS",
        help=f"how long --watch waits between two looks (default: {_INTERVAL:g})",
    )
    json_option(parser)

    def run(arguments: argparse.Namespace, environ: Mapping[str, str]) -> int:
        from builder.commands.status import status  # noqa: PLC0415

        if arguments.interval is not None and not arguments.watch:
            raise UsageError("--interval is for --watch")
        interval = _INTERVAL if arguments.interval is None else arguments.interval
        if not _SHORTEST_INTERVAL <= interval < math.inf:
            raise UsageError(f"--interval {interval:g}: the least is {_SHORTEST_INTERVAL:g} s")
        shown = StatusOptions(
            release=arguments.release,
            watch=arguments.watch,
            interval=interval,
            as_json=arguments.json,
        )
        return status(read_tree(arguments, environ), _read_deploy(arguments), shown, environ)

    parser.set_defaults(run=run)


def _rollback(parser: argparse.ArgumentParser) -> None:
    _deploy_options(parser, waits=True)

    def run(arguments: argparse.Namespace, environ: Mapping[str, str]) -> int:
        from builder.commands.deploy import rollback  # noqa: PLC0415

        return rollback(read_tree(arguments, environ), _read_deploy(arguments), environ)

    parser.set_defaults(run=run)


def _down(parser: argparse.ArgumentParser) -> None:
    _deploy_options(parser, waits=False)
    parser.add_argument("--volumes", action="store_true", help="remove their data, too")

    def run(arguments: argparse.Namespace, environ: Mapping[str, str]) -> int:
        from builder.commands.deploy import down  # noqa: PLC0415

        tree, options = read_tree(arguments, environ), _read_deploy(arguments)
        return down(tree, options, environ, volumes=arguments.volumes)

    parser.set_defaults(run=run)


def _logs(parser: argparse.ArgumentParser) -> None:
    _deploy_options(parser, waits=False)
    parser.add_argument("--tail", default="100", metavar="N", help="lines of each (default: 100)")
    parser.add_argument("--follow", action="store_true", help="go on until interrupted")

    def run(arguments: argparse.Namespace, environ: Mapping[str, str]) -> int:
        from builder.commands.deploy import logs  # noqa: PLC0415

        words = [f"--tail={arguments.tail}", *(["--follow"] if arguments.follow else [])]
        return logs(read_tree(arguments, environ), _read_deploy(arguments), environ, words)

    parser.set_defaults(run=run)


DEPLOY_COMMANDS: Mapping[str, Command] = {
    "deploy": (_deploy, "bring stacks to a published release, and see that they are well"),
    "deploy init": (_init, "make the swarm that networks between hosts need"),
    "deploy join": (_join, "have the other hosts join that swarm"),
    "status": (_status, "show what is deployed, and how it is"),
    "rollback": (_rollback, "bring stacks back to what ran before"),
    "down": (_down, "remove the containers of stacks; data stays"),
    "logs": (_logs, "show what the containers of stacks wrote"),
}
