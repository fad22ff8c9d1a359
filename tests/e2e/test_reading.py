"""The commands that only read, run as a user runs them; most need no engine."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.conftest import Ocbuild
from tests.support import seed
from tests.support.tree import Tree

pytestmark = pytest.mark.e2e
NO_ENGINE = {"DOCKER_HOST": "unix:///nowhere/docker.sock"}


@pytest.fixture
def small(tmp_path: Path) -> Ocbuild:
    tree = Tree(
        tmp_path / "tree",
        {"nova": "FROM debian:12", "nova-api": "FROM nova", "glance": "FROM debian:12"},
    )
    return Ocbuild(tree, tmp_path / "state")


def test_a_typo_is_answered_with_the_nearest_name(small: Ocbuild) -> None:
    for words in (("noav",), ("build", "noav"), ("plan", "noav"), ("graph", "noav")):
        ended = small(*words)
        assert ended.code == 2
        assert 'did you mean "nova"?' in ended.err


def test_graph_json_is_the_contract(small: Ocbuild) -> None:
    document = small("graph", "all", "--format", "json").json
    assert document["order"] == ["glance", "nova", "nova-api"]
    assert document["images"]["nova-api"]["parents"] == ["nova"]
    assert document["external"] == ["debian:12"]


def test_plan_works_without_an_engine(small: Ocbuild) -> None:
    ended = small("plan", "nova", "--json", env=NO_ENGINE)
    assert ended.code == 0, ended.err
    assert [step["action"] for step in ended.json["steps"]] == ["build"]
    assert ended.json["steps"][0]["refs"] == ["127.0.0.1:5999/acme/nova:1.0-abcdef0"]


def test_the_old_seed_is_planned_with_nothing_but_a_build_toml(tmp_path: Path) -> None:
    root = seed.write_seed(tmp_path / "seed")
    done = subprocess.run(
        [sys.executable, "-m", "builder", "plan", "all", "--json"],
        cwd=root,
        env={**Ocbuild(Tree(tmp_path / "x"), tmp_path).environ, **NO_ENGINE},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count('"action": "build"') == seed.IMAGES


def test_list_shows_images_in_build_order(small: Ocbuild) -> None:
    ended = small("list")
    assert [line.split()[0] for line in ended.out.splitlines()] == ["glance", "nova", "nova-api"]


def test_check_reports_mistakes_with_exit_code_2(small: Ocbuild) -> None:
    assert small("check").code == 0
    small.tree.image("bad", "FROM nova\nCOPY missing /\n")
    ended = small("check", "--json")
    assert ended.code == 2
    assert ended.json["errors"][0]["file"] == "images/bad/Dockerfile"
    assert ended.json["errors"][0]["line"] == 2


def test_all_mistakes_stop_a_build_before_it_begins(small: Ocbuild) -> None:
    small.tree.image("bad", "FROM nova\nCOPY missing /\n")
    ended = small("all", "--report", "r.json", env=NO_ENGINE)
    assert ended.code == 2
    assert "images/bad/Dockerfile:2" in ended.err
    assert '"status": "failed"' in (small.tree.root / "r.json").read_text()


def test_a_tree_without_git_asks_for_a_commit(small: Ocbuild) -> None:
    toml = (small.tree.root / "build.toml").read_text()
    small.tree.write("build.toml", toml.replace('commit = "abcdef0"\n', ""))
    ended = small("list")
    assert ended.code == 2
    assert "--commit" in ended.err
    assert "1.0-1234567" in small("list", "--commit", "1234567").out
    assert "1.0-7654321" in small("list", env={"OCBUILD_COMMIT": "7654321"}).out


def test_unknown_options_and_commands_are_answered(small: Ocbuild) -> None:
    ended = small("all", "--psuh")
    assert ended.code == 2
    assert 'did you mean "--push"?' in ended.err
    assert small("--help").code == 0
    assert small().code == 0


def test_init_proposes_a_build_toml_that_loads(small: Ocbuild) -> None:
    (small.tree.root / "build.toml").unlink()
    small.tree.commit()
    ended = small("list")
    assert ended.code == 2
    assert "ocbuild init" in ended.err
    assert small("init").code == 0
    assert "nova-api" in small("list").out
    assert small("init").code == 2
