"""The arguments of the commands that look at the machine and at what was done on it."""

from __future__ import annotations

import argparse
from collections.abc import Mapping

from builder.arguments_shared import Command, json_option, read_tree, tree_options


def _doctor(parser: argparse.ArgumentParser) -> None:
    tree_options(parser)
    json_option(parser)

    def run(arguments: argparse.Namespace, environ: Mapping[str, str]) -> int:
        from builder.doctor.command import doctor  # noqa: PLC0415

        return doctor(read_tree(arguments, environ), environ, as_json=arguments.json)

    parser.set_defaults(run=run)


MACHINE_COMMANDS: Mapping[str, Command] = {
    "doctor": (_doctor, "look whether this machine can build, publish and deploy"),
}
