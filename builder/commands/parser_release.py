"""The arguments of the commands that look after what is published: release and prune."""

from __future__ import annotations

import argparse
from collections.abc import Mapping

from builder.commands.parser_shared import Command, Parser, json_option, read_tree, tree_options
from builder.core.errors import UsageError
from builder.core.options import PromoteOptions, PruneOptions

_TAG = "its tag; latest, nightly and the like are understood (default: latest)"


def _release(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(
        dest="action", metavar="ACTION", required=True, parser_class=Parser
    )
    for name, (describe, summary) in _ACTIONS.items():
        action = actions.add_parser(
            name,
            help=summary,
            description=f"{summary[0].upper()}{summary[1:]}.",
            allow_abbrev=False,
        )
        tree_options(action)
        describe(action)


def _ls(parser: argparse.ArgumentParser) -> None:
    json_option(parser)

    def run(arguments: argparse.Namespace, environ: Mapping[str, str]) -> int:
        from builder.commands.release import ls  # noqa: PLC0415

        return ls(read_tree(arguments, environ), environ, as_json=arguments.json)

    parser.set_defaults(run=run)


def _show(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("tag", nargs="?", metavar="TAG", help=_TAG)
    json_option(parser)

    def run(arguments: argparse.Namespace, environ: Mapping[str, str]) -> int:
        from builder.commands.release import show  # noqa: PLC0415

        return show(read_tree(arguments, environ), environ, arguments.tag, as_json=arguments.json)

    parser.set_defaults(run=run)


def _diff(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("old", metavar="A", help="the tag of the release to compare with")
    parser.add_argument("new", metavar="B", help="the tag of the other one")
    json_option(parser)

    def run(arguments: argparse.Namespace, environ: Mapping[str, str]) -> int:
        from builder.commands.release import diff  # noqa: PLC0415

        pair = (arguments.old, arguments.new)
        return diff(read_tree(arguments, environ), environ, pair, as_json=arguments.json)

    parser.set_defaults(run=run)


def _verify(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("tag", nargs="?", metavar="TAG", help=_TAG)
    parser.add_argument(
        "--deep", action="store_true", help="download every blob and compute its digest"
    )
    json_option(parser)

    def run(arguments: argparse.Namespace, environ: Mapping[str, str]) -> int:
        from builder.commands.release import verify  # noqa: PLC0415

        return verify(
            read_tree(arguments, environ),
            environ,
            arguments.tag,
            deep=arguments.deep,
            as_json=arguments.json,
        )

    parser.set_defaults(run=run)


def _promote(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("tag", metavar="TAG", help="the release to copy")
    parser.add_argument(
        "--to", required=True, metavar="REGISTRY/NAMESPACE", help="where it is to be as well"
    )
    parser.add_argument(
        "--dry-run", action="store_true", help="only say what would be copied, and what forbids it"
    )
    json_option(parser)

    def run(arguments: argparse.Namespace, environ: Mapping[str, str]) -> int:
        from builder.commands.release import promote  # noqa: PLC0415

        options = PromoteOptions(
            tag=arguments.tag,
            target=arguments.to,
            dry_run=arguments.dry_run,
            as_json=arguments.json,
        )
        return promote(read_tree(arguments, environ), environ, options)

    parser.set_defaults(run=run)


def _prune(parser: argparse.ArgumentParser) -> None:
    tree_options(parser)
    parser.add_argument(
        "--keep-commits",
        type=int,
        metavar="N",
        help="keep the releases of the newest N commits (default: 10, or as build.toml says)",
    )
    parser.add_argument(
        "--branch", metavar="NAME", help="of this branch (default: that of build.toml, else any)"
    )
    parser.add_argument(
        "--keep-days",
        type=int,
        metavar="D",
        help="keep what is younger than D days (default: 14, or as build.toml says)",
    )
    parser.add_argument(
        "--yes",
        "--delete",
        action="store_true",
        dest="delete",
        help="delete; without it, only what would be deleted is shown",
    )
    parser.add_argument(
        "--collect",
        action="store_true",
        help="after it, stop the embedded registry, free its disk, and start it again;"
        " nobody may push meanwhile",
    )
    json_option(parser)

    def run(arguments: argparse.Namespace, environ: Mapping[str, str]) -> int:
        from builder.commands.prune import prune  # noqa: PLC0415

        if arguments.collect and not arguments.delete:
            raise UsageError("--collect frees nothing without --yes")
        options = PruneOptions(
            keep_commits=_amount("--keep-commits", arguments.keep_commits),
            keep_days=_amount("--keep-days", arguments.keep_days),
            branch=arguments.branch,
            delete=arguments.delete,
            collect=arguments.collect,
            as_json=arguments.json,
        )
        return prune(read_tree(arguments, environ), environ, options)

    parser.set_defaults(run=run)


def _amount(option: str, value: int | None) -> int | None:
    if value is not None and value < 0:
        raise UsageError(f"{option} {value}: it cannot be less than 0")
    return value


_ACTIONS: Mapping[str, Command] = {
    "ls": (_ls, "list the releases of the registry, newest first"),
    "show": (_show, "show what is in a release"),
    "diff": (_diff, "show what differs between two releases, and why"),
    "verify": (_verify, "check that everything of a release is still in the registry"),
    "promote": (_promote, "copy a release to another registry or namespace"),
}
RELEASE_COMMANDS: Mapping[str, Command] = {
    "release": (_release, "list, show, compare, verify and promote releases"),
    "prune": (_prune, "remove old releases from the registry and old images from the engine"),
}
