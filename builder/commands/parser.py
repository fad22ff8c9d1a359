"""The commands and options of ``ocbuild``: argv to a command that is ready to run."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from msgspec.structs import replace

from builder import __version__
from builder.commands.parser_deploy import DEPLOY_COMMANDS
from builder.commands.parser_machine import MACHINE_COMMANDS
from builder.commands.parser_release import RELEASE_COMMANDS
from builder.commands.parser_shared import (
    Command,
    Parser,
    Run,
    json_option,
    read_tree,
    tree_options,
)
from builder.core.errors import UsageError
from builder.core.options import BuildOptions, SelectOptions, TreeOptions

TARGETS = """\
targets (several are united):
  all                 every image
  nova-api            that image
  contrail            a group
  nova-*              a glob
  nova+  +nova        the image and all built on it; the image and all it is built on
  label:KEY[=VALUE]   images whose Dockerfile sets that label
  @changed            images with an input changed since --since REF (default: the merge-base with
                      the default branch), uncommitted edits included; @changed+ adds what is
                      built on them
"""
EXIT_CODES = """\
exit codes:
  0 all well · 1 an image failed to build or test · 2 bad usage, build.toml or tree
  3 no usable engine · 4 publishing failed · 5 deployment failed · 70 a bug · 130 interrupted
"""
WITH_TARGETS = ("build", "plan", "refresh", "graph", "list", "check")
# What completion's scripts call; it is for nobody else, so no help mentions it.
COMPLETE = "__complete"
ENGINES = ("assembler", "buildx", "engine-api", "classic")


def parse(words: Sequence[str]) -> Callable[[Mapping[str, str]], int]:
    """The command that ``words`` ask for; it wants the environment and gives its exit code.

    Raises:
        UsageError: a word that is not understood, with what was probably meant.

    """
    if words[:1] == [COMPLETE]:
        return lambda environ: _complete(words[1:], environ)
    known = _with_command(words)
    arguments = _parser(known[0]).parse_args(known)
    run: Run = arguments.run
    return lambda environ: run(arguments, environ)


def _complete(words: Sequence[str], environ: Mapping[str, str]) -> int:
    """What the shell asks when a key is pressed; of the tree it is as if no option were given."""
    from builder.commands.completion import complete  # noqa: PLC0415
    from builder.commands.completion_words import known_words, show  # noqa: PLC0415

    return show(complete(_parser(), words, known_words(TreeOptions(), environ)))


def _with_command(words: Sequence[str]) -> list[str]:
    """``build`` may be left out, so it is put in where no command is named.

    A command of two words is one for argparse, for the first of them alone is one with operands.
    """
    if not words:
        return ["--help"]
    if " ".join(words[:2]) in COMMANDS:
        return [" ".join(words[:2]), *words[2:]]
    if words[0] in COMMANDS or words[0] in ("-h", "--help", "--version"):
        return list(words)
    return ["build", *words]


def _parser(wanted: str = "") -> argparse.ArgumentParser:
    """The parser of all commands; where the wanted one is known, the others are not made for it."""
    parser = Parser(
        prog="ocbuild",
        description="Turns a tree of Dockerfile directories into published, deployable releases.",
        epilog=f"{TARGETS}\n{EXIT_CODES}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"ocbuild {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", parser_class=Parser)
    for name in [wanted] if wanted in COMMANDS else COMMANDS:
        describe, summary = COMMANDS[name]
        command = commands.add_parser(
            name,
            help=summary,
            description=f"{summary[0].upper()}{summary[1:]}.",
            epilog=TARGETS if name in WITH_TARGETS else None,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )
        describe(command)
    return parser


# --- options that several commands share --------------------------------------------------------


def _target_options(parser: argparse.ArgumentParser, *, required: bool) -> None:
    parser.add_argument("targets", nargs="*", metavar="TARGET", help="see below")
    parser.add_argument(
        "--exclude", action="append", default=[], metavar="TARGET", help="leave these out"
    )
    parser.add_argument("--since", metavar="REF", help="what @changed compares with")
    parser.set_defaults(targets_required=required)


def _build_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--jobs", type=int, metavar="N", help="builds at a time (default: the number of cores)"
    )
    parser.add_argument("--engine", choices=ENGINES, help="force one engine")
    going = parser.add_mutually_exclusive_group()
    going.add_argument(
        "--keep-going",
        action="store_true",
        default=True,
        help="build on what does not depend on a failure (default)",
    )
    going.add_argument(
        "--fail-fast", action="store_false", dest="keep_going", help="stop all at the first failure"
    )
    parser.add_argument(
        "--no-reuse", action="store_true", help="make ancestors anew even where their key exists"
    )
    parser.add_argument("--no-cache", action="store_true", help="bypass the engine's layer cache")
    parser.add_argument(
        "--allow-dirty", action="store_true", help="push although the tree has uncommitted edits"
    )
    lock = parser.add_mutually_exclusive_group()
    lock.add_argument(
        "--lock", action="store_true", help="write the digests of external bases to build.lock"
    )
    lock.add_argument(
        "--locked", action="store_true", help="take external bases from build.lock alone, or fail"
    )
    parser.add_argument(
        "--retry-failed", action="store_true", help="select what did not succeed in the last run"
    )


def _report_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--report", type=Path, metavar="FILE", help="write the result as JSON")
    parser.add_argument(
        "--progress",
        choices=("auto", "live", "plain", "json", "quiet"),
        default="auto",
        help="how the run is shown (default: live on a terminal, else plain)",
    )


def _read_selection(arguments: argparse.Namespace) -> SelectOptions:
    retry = bool(getattr(arguments, "retry_failed", False))
    targets = tuple(arguments.targets)
    if not targets and not retry:
        if arguments.targets_required:
            raise UsageError(
                "no target given",
                hint="`ocbuild all` builds everything, `ocbuild list` shows what there is",
            )
        targets = ("all",)
    for target in targets:
        if target in COMMANDS and target != arguments.command and targets[0] == target:
            raise UsageError(
                f'"{target}" is a command, and a command comes first',
                hint=f"`ocbuild {target} …`",
            )
    return SelectOptions(
        targets=targets,
        exclude=tuple(arguments.exclude),
        since=arguments.since,
        retry_failed=retry,
    )


def _read_build(arguments: argparse.Namespace) -> BuildOptions:
    if arguments.jobs is not None and arguments.jobs < 1:
        raise UsageError(f"--jobs {arguments.jobs}: at least one build at a time is needed")
    return BuildOptions(
        jobs=arguments.jobs,
        engine=arguments.engine,
        keep_going=arguments.keep_going,
        no_reuse=arguments.no_reuse,
        no_cache=arguments.no_cache,
        allow_dirty=arguments.allow_dirty,
        lock=arguments.lock,
        locked=arguments.locked,
    )


def _read_run(arguments: argparse.Namespace) -> BuildOptions:
    return replace(
        _read_build(arguments),
        push=arguments.push,
        dry_run=arguments.dry_run,
        report=arguments.report,
        progress=arguments.progress,
    )


# --- commands -----------------------------------------------------------------------------------
# Each imports what it runs only when it runs, so that `ocbuild --help` stays instant.


def _build(parser: argparse.ArgumentParser) -> None:
    _target_options(parser, required=True)
    tree_options(parser)
    _build_options(parser)
    parser.add_argument("--push", action="store_true", help="publish the release, or none of it")
    parser.add_argument("--dry-run", action="store_true", help="only show the plan")
    _report_options(parser)

    def run(arguments: argparse.Namespace, environ: Mapping[str, str]) -> int:
        from builder.commands.build import build, plan  # noqa: PLC0415

        tree, selection = read_tree(arguments, environ), _read_selection(arguments)
        options = _read_run(arguments)
        if options.dry_run:
            return plan(tree, selection, options, environ, as_json=False)
        return build(tree, selection, options, environ)

    parser.set_defaults(run=run)


def _plan(parser: argparse.ArgumentParser) -> None:
    _target_options(parser, required=True)
    tree_options(parser)
    _build_options(parser)
    parser.add_argument(
        "--push", action="store_true", help="ask the registry, as a run that publishes does"
    )
    json_option(parser)

    def run(arguments: argparse.Namespace, environ: Mapping[str, str]) -> int:
        from builder.commands.build import plan  # noqa: PLC0415

        return plan(
            read_tree(arguments, environ),
            _read_selection(arguments),
            replace(_read_build(arguments), push=arguments.push),
            environ,
            as_json=arguments.json,
        )

    parser.set_defaults(run=run)


def _refresh(parser: argparse.ArgumentParser) -> None:
    _target_options(parser, required=False)
    tree_options(parser)
    _build_options(parser)
    parser.add_argument("--push", action="store_true", help="publish what was made anew")
    parser.add_argument("--dry-run", action="store_true", help="only show what is stale")
    _report_options(parser)
    json_option(parser)

    def run(arguments: argparse.Namespace, environ: Mapping[str, str]) -> int:
        from builder.commands.refresh import refresh  # noqa: PLC0415

        return refresh(
            read_tree(arguments, environ),
            _read_selection(arguments),
            _read_run(arguments),
            environ,
            as_json=arguments.json,
        )

    parser.set_defaults(run=run)


def _graph(parser: argparse.ArgumentParser) -> None:
    _target_options(parser, required=False)
    tree_options(parser)
    parser.add_argument(
        "--format", choices=("tree", "json", "dot", "mermaid", "svg"), default="tree"
    )
    parser.add_argument(
        "--json", action="store_const", const="json", dest="format", help="same as --format json"
    )

    def run(arguments: argparse.Namespace, environ: Mapping[str, str]) -> int:
        from builder.commands.inspect import graph  # noqa: PLC0415

        return graph(read_tree(arguments, environ), _read_selection(arguments), arguments.format)

    parser.set_defaults(run=run)


def _list(parser: argparse.ArgumentParser) -> None:
    _target_options(parser, required=False)
    tree_options(parser)
    json_option(parser)

    def run(arguments: argparse.Namespace, environ: Mapping[str, str]) -> int:
        from builder.commands.inspect import list_images  # noqa: PLC0415

        return list_images(
            read_tree(arguments, environ), _read_selection(arguments), as_json=arguments.json
        )

    parser.set_defaults(run=run)


def _check(parser: argparse.ArgumentParser) -> None:
    _target_options(parser, required=False)
    tree_options(parser)
    json_option(parser)

    def run(arguments: argparse.Namespace, environ: Mapping[str, str]) -> int:
        from builder.commands.inspect import check  # noqa: PLC0415

        return check(
            read_tree(arguments, environ), _read_selection(arguments), as_json=arguments.json
        )

    parser.set_defaults(run=run)


def _registry(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("action", choices=("start", "stop", "status"))
    parser.add_argument(
        "--address",
        default=None,
        metavar="HOST:PORT",
        help="where it listens (default: 127.0.0.1:5000)",
    )
    json_option(parser)

    def run(arguments: argparse.Namespace, environ: Mapping[str, str]) -> int:
        from builder.commands.inspect import registry  # noqa: PLC0415

        return registry(
            arguments.action,
            address=arguments.address,
            environ=environ,
            as_json=arguments.json,
        )

    parser.set_defaults(run=run)


def _init(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", nargs="?", type=Path, default=Path(), metavar="FOLDER")
    parser.add_argument("--force", action="store_true", help="overwrite a build.toml")
    parser.add_argument("--print", action="store_true", dest="show", help="only print it")

    def run(arguments: argparse.Namespace, _environ: Mapping[str, str]) -> int:
        from builder.commands.inspect import init  # noqa: PLC0415

        return init(arguments.folder, force=arguments.force, show=arguments.show)

    parser.set_defaults(run=run)


COMMANDS: Mapping[str, Command] = {
    "build": (_build, "make images, and publish them with --push; the default command"),
    "plan": (_plan, "show what would be done for each image, and why"),
    "refresh": (_refresh, "make anew what went stale: moved bases, outdated packages"),
    "graph": (_graph, "show which image is built on which"),
    "list": (_list, "list images in build order"),
    "check": (_check, "look for mistakes in build.toml, Dockerfiles and contexts"),
    "registry": (_registry, "run the embedded registry"),
    **RELEASE_COMMANDS,
    **DEPLOY_COMMANDS,
    **MACHINE_COMMANDS,
    "init": (_init, "propose a build.toml for a tree that has none"),
}
