"""What a shell is offered: commands, options, choices, and the words of the tree at hand."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from builder.commands.parser import parse
from builder.core.command_line import SCRIPTS
from builder.core.commands import COMMANDS
from tests.support.tree import BUILD_TOML, Tree

STACKS = """
[deploy.hosts.controller]
[deploy.hosts.far]
docker = "ssh://far"
[deploy.stacks.keystone]
file = "one.yml"
host = "controller"
[deploy.stacks.nova]
file = "one.yml"
host = "far"
"""


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Tree:
    made = Tree(
        tmp_path / "tree",
        {
            "nova": "FROM scratch\nLABEL net.group=api\n",
            "nova-api": "FROM nova\n",
            "glance": "FROM scratch\n",
        },
        toml=BUILD_TOML + STACKS,
    )
    made.write("one.yml", "name: one\n")
    monkeypatch.chdir(made.root)
    return made


@pytest.fixture
def offered(tree: Tree, capsys: pytest.CaptureFixture[str]) -> Offered:
    assert tree.root.exists()
    return Offered(capsys)


class Offered:
    """The words that are offered for the last one of a line."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys

    def __call__(self, *words: str) -> list[str]:
        assert parse(["__complete", *words])({}) == 0
        return [line.partition("\t")[0] for line in self._capsys.readouterr().out.splitlines()]


def test_the_first_word_is_a_command_or_an_image_to_build(offered: Offered) -> None:
    found = offered("")
    assert {name.partition(" ")[0] for name in COMMANDS} <= set(found)
    assert not any(" " in word for word in found)
    assert {"all", "images", "nova", "nova-api", "glance", "@changed"} <= set(found)
    assert offered("no") == ["nova", "nova-api"]
    assert offered("com") == ["completion"]


def test_targets_come_in_all_their_forms(offered: Offered) -> None:
    assert offered("plan", "nova") == ["nova", "nova+", "nova-api"]
    assert offered("plan", "+nova-api") == ["+nova-api", "+nova-api+"]
    assert offered("plan", "label:") == ["label:net.group", "label:net.group=api"]
    assert offered("plan", "glance", "@c") == ["@changed", "@changed+"]
    # The command may be left out, and its options are those of build.
    assert "--retry-failed" in offered("glance", "--re")
    assert offered("glance", "nova-") == ["nova-api"]
    assert offered("plan", "--exclude", "gl") == ["glance"]
    assert offered("plan", "glance") == ["glance", "glance+"]


@pytest.mark.parametrize(
    ("words", "found"),
    [
        (("deploy", ""), ["init", "join", "keystone", "nova"]),
        (("deploy", "join", ""), ["controller", "far"]),
        (("deploy", "init", "--adv"), ["--advertise-addr"]),
        (("deploy", "init", "--host", "f"), ["far"]),
        (("deploy", "keystone", "i"), []),
        (("deploy", "keystone", "n"), ["nova"]),
        (("status", "--host", ""), ["controller", "far"]),
        (("deploy", "--dry-"), ["--dry-run"]),
        (("all", "--engine", "b"), ["buildx"]),
        (("all", "--engine=b"), ["--engine=buildx"]),
        (("all", "--progress", "p"), ["plain"]),
        (("registry", "st"), ["start", "stop", "status"]),
        (("release", ""), ["ls", "show", "diff", "verify", "promote"]),
        (("completion", ""), ["bash", "zsh", "fish"]),
        (("all", "--report", "x"), [":files"]),
        (("report", ""), [":files"]),
        # What the shell cannot know: a number, a name that somebody makes up.
        (("all", "--jobs", ""), []),
        (("all", "--nosuch", "--jo"), ["--jobs"]),
        (("doctor", ""), []),
        # After a double dash nothing is an option.
        (("plan", "--", "--e"), []),
    ],
)
def test_each_place_has_its_own_words(
    offered: Offered, words: Sequence[str], found: Sequence[str]
) -> None:
    assert offered(*words) == list(found)


def test_outside_of_a_tree_there_are_commands_all_the_same(
    offered: Offered, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert offered("dep") == ["deploy"]
    assert offered("deploy", "") == ["init", "join"]
    assert offered("release", "show", "") == []


def test_what_was_typed_is_no_command_to_be_run(offered: Offered) -> None:
    assert "__complete" not in offered("")
    assert offered("__comp") == []


@pytest.mark.parametrize("shell", SCRIPTS)
def test_a_script_is_printed_and_its_shell_can_read_it(
    shell: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert parse(["completion", shell])({}) == 0
    script = tmp_path / "script"
    script.write_text(capsys.readouterr().out)
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")
    subprocess.run([shell, "-n", str(script)], check=True)


DRIVER = """\
source "$1"
COMP_LINE=$2 COMP_POINT=${#2}
_ocbuild 2>/dev/null
printf '%s\\n' "${COMPREPLY[@]}"
"""


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("ocbuild dep", ["deploy"]),
        ("ocbuild deploy key", ["keystone"]),
        ("ocbuild plan glance nova-", ["nova-api"]),
        # bash splits words there, so only what follows is replaced.
        ("ocbuild plan label:net.group=", ["api"]),
        ("ocbuild plan label:net", ["net.group", "net.group=api"]),
        ("ocbuild all --engine=cl", ["classic"]),
        ("ocbuild all --report on", ["one.yml"]),
        ("ocbuild plan nosuch", [""]),
    ],
)
def test_bash_completes_by_it(tree: Tree, tmp_path: Path, line: str, found: list[str]) -> None:
    script, folder = tmp_path / "script", tmp_path / "bin"
    script.write_text(SCRIPTS["bash"])
    folder.mkdir()
    (folder / "ocbuild").write_text(f'#!/bin/sh\nexec {sys.executable} -m builder "$@"\n')
    (folder / "ocbuild").chmod(0o755)
    done = subprocess.run(
        ["bash", "--norc", "-c", DRIVER, "bash", str(script), line],
        cwd=tree.root,
        env={
            **os.environ,
            "PATH": f"{folder}:{os.environ['PATH']}",
            "PYTHONPATH": str(Path(__file__).parents[3]),
        },
        check=True,
        capture_output=True,
        text=True,
    )
    assert done.stdout.splitlines() == found
