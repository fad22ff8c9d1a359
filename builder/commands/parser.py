"""argv to a command that is ready to run, as the table of commands says."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any, NoReturn

from builder import __version__
from builder.core.command_line import values_of
from builder.core.commands import COMMANDS, DEFAULT, DESCRIPTION
from builder.core.errors import UsageError, did_you_mean
from builder.core.options import EXIT_CODES, REPORT, TARGETS, Argument, CommandRow

# What completion's scripts call; it is for nobody else, so it is not in the table.
COMPLETE = "__complete"

Run = Callable[[Mapping[str, str]], int]


def parse(words: Sequence[str]) -> Run:
    """The command that ``words`` ask for; it wants the environment and gives its exit code.

    Raises:
        UsageError: a word that is not understood, with what was probably meant.

    """
    if words[:1] == [COMPLETE]:
        return lambda environ: runner("completion:complete_words")(words[1:], environ)
    words = _with_command(words)
    if words[0] not in COMMANDS:
        _parser().parse_args(words[:1])  # --help or --version, which end the process
    given = vars(parser_of(COMMANDS[words[0]]).parse_args(words[1:]))
    command: CommandRow = given.pop("command")
    return lambda environ: runner(command.run)(*values_of(command, given, environ), environ)


def runner(name: str) -> Callable[..., int]:
    """The function that a row of the table names; its module is imported here and no sooner."""
    module, _, function = name.partition(":")
    run: Callable[..., int] = getattr(import_module(f"builder.commands.{module}"), function)
    return run


def report_path(words: Sequence[str]) -> Path | None:
    """Where --report points, even in a command line that is not understood."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    _add(parser, REPORT)
    with suppress(argparse.ArgumentError):
        path: Path | None = parser.parse_known_args(words)[0].report
        return path
    return None


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
    return [DEFAULT.name, *words]


class Parser(argparse.ArgumentParser):
    """argparse, but with its errors as ours: one message, a remedy, exit code 2."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(message, hint=f"`{self.prog} --help` lists all options")

    def parse_known_args(  # type: ignore[override]
        self, args: Sequence[str] | None = None, namespace: argparse.Namespace | None = None
    ) -> tuple[argparse.Namespace, list[str]]:
        """Refuse what is not known here, where the options that come near are known."""
        given, unknown = super().parse_known_args(args, namespace)
        if unknown:
            known = [option for action in self._actions for option in action.option_strings]
            hint = did_you_mean(unknown[0].partition("=")[0], known)
            text = " ".join(unknown)
            raise UsageError(
                f"`{self.prog}` does not know {text}",
                hint=hint or f"`{self.prog} --help` lists all options",
            )
        return given, unknown


def _parser() -> argparse.ArgumentParser:
    """The parser of what may be said without a command: --help, which lists them, and --version."""
    parser = Parser(
        prog="ocbuild",
        description=DESCRIPTION,
        epilog=f"{TARGETS}\n{EXIT_CODES}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"ocbuild {__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", parser_class=Parser)
    for name, command in COMMANDS.items():
        first = name.partition(" ")[0]
        if COMMANDS[first].run or name == first:
            commands.add_parser(name, help=command.summary)
    return parser


def parser_of(command: CommandRow) -> argparse.ArgumentParser:
    """The parser of one row, and of those that it is the first word of."""
    parser = Parser(prog=f"ocbuild {command.name}", **_settings(command))
    _fill(parser, command)
    return parser


def _settings(command: CommandRow) -> dict[str, Any]:
    return {
        "description": command.description,
        "epilog": TARGETS if command.has_targets else None,
        "formatter_class": argparse.RawDescriptionHelpFormatter,
        "allow_abbrev": False,
    }


def _fill(parser: argparse.ArgumentParser, command: CommandRow) -> None:
    parser.set_defaults(command=command)
    if not command.run:
        actions = parser.add_subparsers(metavar="ACTION", required=True, parser_class=Parser)
        start = f"{command.name} "
        for name, action in COMMANDS.items():
            if name.startswith(start):
                word = name.removeprefix(start)
                _fill(actions.add_parser(word, help=action.summary, **_settings(action)), action)
    groups: dict[str | None, Any] = {None: parser}
    for row in command.arguments:
        if row.group not in groups:
            groups[row.group] = parser.add_mutually_exclusive_group()
        _add(groups[row.group], row)


def _add(parser: argparse.ArgumentParser, row: Argument) -> None:
    """A row as argparse wants it; no default: what was not given is not in the values."""
    more: dict[str, Any] = {"help": row.help}
    if row.const is not None:
        more.update(action="store_const", const=row.const)
    else:
        more.update(metavar=row.metavar, choices=row.choices, type=row.type)
        if row.is_option and row.repeated:
            more.update(action="append")
    if row.is_option:
        more.update(dest=row.field, required=row.required)
    elif row.repeated:
        more.update(nargs="*")
    elif not row.required:
        more.update(nargs="?")
    parser.add_argument(*row.words, **more)
