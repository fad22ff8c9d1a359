"""What the commands' arguments share: our kind of parser, and the options of the tree."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NoReturn

from builder.core.errors import UsageError, did_you_mean
from builder.core.options import TreeOptions

Run = Callable[[argparse.Namespace, Mapping[str, str]], int]
# What describes a command's arguments, and its summary.
Command = tuple[Callable[[argparse.ArgumentParser], None], str]


class Parser(argparse.ArgumentParser):
    """argparse, but with its errors as ours: one message, a remedy, exit code 2."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(message, hint=f"`{self.prog} --help` lists all options")

    def parse_known_args(  # type: ignore[override]
        self, args: Sequence[str] | None = None, namespace: argparse.Namespace | None = None
    ) -> tuple[argparse.Namespace, list[str]]:
        """Refuse what is not known here, where the options that come near are known."""
        found, unknown = super().parse_known_args(args, namespace)
        if unknown:
            known = [option for action in self._actions for option in action.option_strings]
            hint = did_you_mean(unknown[0].partition("=")[0], known)
            text = " ".join(unknown)
            raise UsageError(
                f"`{self.prog}` does not know {text}",
                hint=hint or f"`{self.prog} --help` lists all options",
            )
        return found, unknown


def tree_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--config",
        type=Path,
        metavar="FILE",
        help="build.toml (default: in this folder or the nearest parent)",
    )
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        dest="sets",
        help="override any key of build.toml, e.g. --set build.jobs=4",
    )
    parser.add_argument("--registry", metavar="HOST", help='host[:port], or "local"')
    parser.add_argument("--namespace", metavar="NAME", help="where images are published")
    parser.add_argument(
        "--commit", metavar="SHA", help="take this commit for tags (also OCBUILD_COMMIT)"
    )


def json_option(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print JSON on stdout")


def read_tree(arguments: argparse.Namespace, environ: Mapping[str, str]) -> TreeOptions:
    return TreeOptions(
        config=arguments.config,
        sets=tuple(arguments.sets),
        registry=arguments.registry,
        namespace=arguments.namespace,
        commit=arguments.commit or environ.get("OCBUILD_COMMIT") or None,
    )
