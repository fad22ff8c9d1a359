"""The arguments of the commands that look at the machine and at what was done on it."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path

from builder.commands.completion import SCRIPTS
from builder.commands.parser_shared import Command, json_option, read_tree, tree_options


def _doctor(parser: argparse.ArgumentParser) -> None:
    tree_options(parser)
    json_option(parser)

    def run(arguments: argparse.Namespace, environ: Mapping[str, str]) -> int:
        from builder.commands.doctor import doctor  # noqa: PLC0415

        return doctor(read_tree(arguments, environ), environ, as_json=arguments.json)

    parser.set_defaults(run=run)


def _report(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "file",
        nargs="?",
        type=Path,
        metavar="FILE",
        help="a report that --report wrote (default: that of the last run)",
    )
    parser.add_argument("--failed", action="store_true", help="only what did not succeed")
    tree_options(parser)
    json_option(parser)

    def run(arguments: argparse.Namespace, environ: Mapping[str, str]) -> int:
        from builder.commands.inspect import report  # noqa: PLC0415

        return report(
            read_tree(arguments, environ),
            arguments.file,
            failed=arguments.failed,
            as_json=arguments.json,
        )

    parser.set_defaults(run=run)


def _completion(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("shell", choices=tuple(SCRIPTS))

    def run(arguments: argparse.Namespace, _environ: Mapping[str, str]) -> int:
        sys.stdout.write(SCRIPTS[arguments.shell])
        return 0

    parser.set_defaults(run=run)


MACHINE_COMMANDS: Mapping[str, Command] = {
    "doctor": (_doctor, "look whether this machine can build, publish and deploy"),
    "report": (_report, "show what the last run did, or the one of a given report"),
    "completion": (_completion, "print what makes a shell complete commands, images and stacks"),
}
