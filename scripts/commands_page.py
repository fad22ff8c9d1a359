"""Keeps docs/commands.md true, the table of commands as a page: --check | --write."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from builder.core.commands import COMMANDS
from builder.core.options import BUILD, EXIT_CODES, SELECT, TARGETS, TREE, Argument, CommandRow

PAGE = Path("docs/commands.md")
HEAD = """\
# Commands

Made from the table of commands (`builder/core/commands.py`) by `scripts/commands_page.py --write`.
`build` may be left out: `ocbuild all` is `ocbuild build all`. `ocbuild COMMAND --help` says the
same, and `ocbuild --version` which ocbuild it is.
"""
SHARED = {"Targets": SELECT, "The tree": TREE, "Builds": BUILD}


def page() -> str:
    """The whole page."""
    rows = (line for row in COMMANDS.values() for line in _command(row))
    return "\n".join([HEAD, *_shared(), *rows])


def _shared() -> Iterator[str]:
    yield "## What several commands share\n"
    for title, arguments in SHARED.items():
        yield f"**{title}**\n"
        yield from _table(arguments)
    yield f"```text\n{TARGETS}\n{EXIT_CODES}```\n"


def _command(row: CommandRow) -> Iterator[str]:
    shared = [title for title, those in SHARED.items() if set(those) <= set(row.arguments)]
    own = [
        argument
        for argument in row.arguments
        if not any(argument in SHARED[title] for title in shared)
    ]
    yield f"## ocbuild {row.name}\n"
    yield f"{row.description}\n"
    if shared:
        yield f"Takes what is shared: {', '.join(title.lower() for title in shared)}.\n"
    if own:
        yield from _table(own)


def _table(arguments: Sequence[Argument]) -> Iterator[str]:
    yield "| argument | meaning |\n|---|---|"
    yield from (f"| `{_usage(argument)}` | {_cell(argument)} |" for argument in arguments)
    yield ""


def _usage(argument: Argument) -> str:
    value = argument.metavar or "\\|".join(argument.choices or ())
    if not argument.is_option:
        many = "…" if argument.repeated else ""
        return f"{value}{many}" if argument.required and not many else f"[{value}{many}]"
    words = ", ".join(argument.words)
    return words if argument.const is not None else f"{words} {value}"


def _cell(argument: Argument) -> str:
    return (argument.help or "").replace("|", "\\|")


def main(words: Sequence[str]) -> int:
    if words == ["--write"]:
        PAGE.write_text(page(), encoding="utf-8")
        return 0
    if words != ["--check"]:
        sys.stderr.write("commands_page.py --check | --write\n")
        return 2
    if PAGE.read_text(encoding="utf-8") != page():
        sys.stderr.write(f"{PAGE} is not what the table says: scripts/commands_page.py --write\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
