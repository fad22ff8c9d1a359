"""The table of commands: what holds for every row, and what its words become."""

from __future__ import annotations

import shlex
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any, get_type_hints

import pytest
from msgspec import Struct
from msgspec.structs import replace

from builder.commands.parser import parser_of, runner
from builder.core.command_line import SCRIPTS, values_of
from builder.core.commands import COMMANDS
from builder.core.errors import UsageError
from builder.core.options import (
    BuildOptions,
    CommandRow,
    DeployOptions,
    DownOptions,
    GraphOptions,
    InitOptions,
    ListOptions,
    LogsOptions,
    PromoteOptions,
    PruneOptions,
    ReleaseOptions,
    SelectOptions,
    StatusOptions,
    SwarmOptions,
    TreeOptions,
    option,
)

ROOT = Path(__file__).parents[3]
RUNNING = [name for name, command in COMMANDS.items() if command.run]


@pytest.mark.parametrize("name", RUNNING)
def test_what_runs_a_command_takes_the_values_that_its_row_names(name: str) -> None:
    command = COMMANDS[name]
    hints = get_type_hints(runner(command.run))
    assert hints.pop("return") is int
    taken = list(hints.values())[: len(command.takes)]
    assert tuple(taken) == command.takes


@pytest.mark.parametrize("name", RUNNING)
def test_every_argument_sets_a_field_and_no_word_is_used_twice(name: str) -> None:
    command = COMMANDS[name]
    fields = {field for taken in command.takes for field in taken.__struct_fields__}
    assert {row.field for row in command.arguments} <= fields
    words = Counter(word for row in command.arguments for word in row.words)
    assert set(words.values()) == {1}
    operands = [row for row in command.arguments if not row.is_option]
    assert not any(row.repeated for row in operands[:-1])


def test_the_second_word_of_a_command_has_a_first_one() -> None:
    assert {name.partition(" ")[0] for name in COMMANDS} <= COMMANDS.keys()


@pytest.mark.parametrize(
    ("name", "word", "default"),
    [
        ("deploy", "--timeout", f"{DeployOptions().timeout:g}"),
        ("deploy", "--release", DeployOptions().release),
        ("status", "--interval", f"{StatusOptions().interval:g}"),
        ("logs", "--tail", LogsOptions().tail),
    ],
)
def test_the_help_names_the_default_of_the_value(name: str, word: str, default: str) -> None:
    row = COMMANDS[name].option(word)
    assert row is not None
    assert row.help is not None
    assert f"(default: {default})" in row.help


def test_there_is_a_script_for_every_shell() -> None:
    (shell,) = COMMANDS["completion"].arguments
    assert shell.choices == tuple(SCRIPTS)


def test_every_command_and_option_is_documented() -> None:
    page = (ROOT / "docs/commands.md").read_text()
    for name, command in COMMANDS.items():
        assert f"## ocbuild {name}\n" in page
        for row in command.arguments:
            assert all(word in page for word in row.words if row.is_option)
    checked = subprocess.run(
        [sys.executable, "scripts/commands_page.py", "--check"],
        cwd=ROOT,
        env={"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert checked.returncode == 0, checked.stderr


def values(name: str, line: str, environ: dict[str, str] | None = None) -> list[Struct]:
    return of_row(COMMANDS[name], line, environ)


def of_row(row: CommandRow, line: str, environ: dict[str, str] | None = None) -> list[Struct]:
    given: dict[str, Any] = vars(parser_of(row).parse_args(shlex.split(line)))
    return values_of(row, given, environ or {})


TREE = TreeOptions()


@pytest.mark.parametrize(
    ("name", "line", "expected"),
    [
        (
            "build",
            "nova+ b --exclude x --exclude y --since main --jobs 3 --fail-fast --locked --push",
            [
                TREE,
                SelectOptions(targets=("nova+", "b"), exclude=("x", "y"), since="main"),
                BuildOptions(
                    jobs=3,
                    keep_going=False,
                    locked=True,
                    push=True,
                ),
            ],
        ),
        (
            "build",
            "--retry-failed --keep-going --report r.json --progress json",
            [
                TREE,
                SelectOptions(retry_failed=True),
                BuildOptions(report=Path("r.json"), progress="json"),
            ],
        ),
        ("list", "", [TREE, SelectOptions(targets=("all",)), ListOptions()]),
        ("refresh", "--json", [TREE, SelectOptions(targets=("all",)), BuildOptions(as_json=True)]),
        ("graph", "", [TREE, SelectOptions(targets=("all",)), GraphOptions()]),
        ("graph", "--json x", [TREE, SelectOptions(targets=("x",)), GraphOptions(format="json")]),
        (
            "list",
            "list --config f --set a=1 --set b=2 --registry r --namespace n --commit c",
            [
                TreeOptions(
                    config=Path("f"), sets=("a=1", "b=2"), registry="r", namespace="n", commit="c"
                ),
                SelectOptions(targets=("list",)),
                ListOptions(),
            ],
        ),
        ("release show", "", [TREE, ReleaseOptions()]),
        ("release verify", "t --deep", [TREE, ReleaseOptions(tag="t", deep=True)]),
        (
            "release promote",
            "t --to r/n --dry-run",
            [TREE, PromoteOptions(tag="t", target="r/n", dry_run=True)],
        ),
        (
            "prune",
            "--delete --collect --keep-days 0 --branch b",
            [TREE, PruneOptions(delete=True, collect=True, keep_days=0, branch="b")],
        ),
        (
            "deploy",
            "a b --timeout 9 --release r --env-file e --host h --dry-run",
            [
                TREE,
                DeployOptions(
                    stacks=("a", "b"),
                    timeout=9.0,
                    release="r",
                    env_file=Path("e"),
                    host="h",
                    dry_run=True,
                ),
            ],
        ),
        (
            "deploy init",
            "--host h --advertise-addr a --data-path-addr d",
            [TREE, SwarmOptions(host="h", advertise_addr="a", data_path_addr="d")],
        ),
        ("deploy join", "h i", [TREE, SwarmOptions(hosts=("h", "i"))]),
        (
            "status",
            "--release r --watch --interval 0.5",
            [TREE, DeployOptions(), StatusOptions(against="r", watch=True, interval=0.5)],
        ),
        ("status", "", [TREE, DeployOptions(), StatusOptions()]),
        ("down", "a --volumes", [TREE, DeployOptions(stacks=("a",)), DownOptions(volumes=True)]),
        ("logs", "--follow", [TREE, DeployOptions(), LogsOptions(follow=True)]),
        ("init", "", [InitOptions()]),
        ("init", "f --print", [InitOptions(folder=Path("f"), show=True)]),
    ],
)
def test_words_become_values(name: str, line: str, expected: list[Struct]) -> None:
    assert values(name, line) == expected


def test_the_commit_may_come_from_the_environment() -> None:
    environ = {"OCBUILD_COMMIT": "abc"}
    assert values("doctor", "", environ)[0] == TreeOptions(commit="abc")
    assert values("doctor", "--commit def", environ)[0] == TreeOptions(commit="def")
    assert values("doctor", "", {"OCBUILD_COMMIT": ""})[0] == TREE


def test_an_option_is_one_row_and_one_field() -> None:
    class OlderOptions(Struct, frozen=True, kw_only=True):
        older_than: str | None = None

    prune = COMMANDS["prune"]
    older = option("--older-than", "AGE", "delete only what is older")
    row = replace(prune, takes=(*prune.takes, OlderOptions), arguments=(*prune.arguments, older))
    assert "--older-than AGE  delete only what is older" in parser_of(row).format_help()
    assert of_row(row, "--older-than 3d") == [TREE, PruneOptions(), OlderOptions(older_than="3d")]


@pytest.mark.parametrize(
    ("name", "line", "message"),
    [
        ("plan", "", "no target given"),
        ("plan", "list", '"list" is a command, and a command comes first'),
        ("plan", "x --jobs 0", "--jobs 0: at least one build at a time is needed"),
        ("prune", "--collect", "--collect frees nothing without --yes"),
        ("prune", "--keep-days -1", "--keep-days -1: it cannot be less than 0"),
        ("deploy", "--timeout 0", "--timeout 0: it must be greater than 0"),
        ("status", "--interval 3", "--interval is for --watch"),
        ("status", "--watch --interval nan", "--interval nan: the least is 0.2 s"),
    ],
)
def test_values_that_cannot_be_are_refused(name: str, line: str, message: str) -> None:
    with pytest.raises(UsageError) as refused:
        values(name, line)
    assert refused.value.message == message
