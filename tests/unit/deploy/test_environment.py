"""Secrets are made once, at random, and for nobody else's eyes."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from builder.core.deploy.records import filled
from builder.core.errors import DeployError
from builder.deploy import project as environment

EXAMPLE = "# PASSWORD=<random> is made for you\nHOST=db\nA_PASSWORD=<random>\nB_PASSWORD=<random>\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / environment.EXAMPLE).write_text(EXAMPLE)
    return tmp_path


def values(file: Path) -> dict[str, str]:
    lines = [line for line in file.read_text().splitlines() if not line.startswith("#")]
    return dict(line.split("=", 1) for line in lines)


def test_each_secret_is_another_one_and_all_else_is_copied(folder: Path) -> None:
    file = environment.ensure(folder)
    assert file is not None
    found = values(file)
    assert found["HOST"] == "db"
    assert found["A_PASSWORD"] != found["B_PASSWORD"]
    assert {len(found["A_PASSWORD"]), len(found["B_PASSWORD"])} == {40}


def test_two_clouds_have_no_secret_in_common() -> None:
    assert filled(EXAMPLE, environment.new_secret) != filled(EXAMPLE, environment.new_secret)


def test_comments_are_left_alone() -> None:
    assert filled(EXAMPLE, environment.new_secret).startswith(
        "# PASSWORD=<random> is made for you\n"
    )


def test_only_the_owner_can_read_it(folder: Path) -> None:
    file = environment.ensure(folder)
    assert file is not None
    assert file.stat().st_mode & 0o777 == 0o600


def test_a_file_that_is_there_is_never_written_again(folder: Path) -> None:
    first = environment.ensure(folder)
    assert first is not None
    text = first.read_text()
    assert environment.ensure(folder) == first
    assert first.read_text() == text
    with pytest.raises(DeployError, match="cannot write"):
        environment.write(first, folder / environment.EXAMPLE)


def test_a_file_that_others_can_read_is_refused(folder: Path) -> None:
    file = environment.ensure(folder)
    assert file is not None
    file.chmod(0o640)
    with pytest.raises(DeployError) as caught:
        environment.ensure(folder)
    assert caught.value.hint == f"chmod 600 {file}"


def test_a_folder_without_an_example_has_no_file(tmp_path: Path) -> None:
    assert environment.ensure(tmp_path) is None


def test_a_secret_that_was_copied_by_hand_is_no_secret(tmp_path: Path) -> None:
    (tmp_path / "common.env").write_text("A=1\nB=x<random>\n# C=<random>\nD=<random>\n")
    (tmp_path / "common.env").chmod(0o600)
    with pytest.raises(DeployError, match=r"common.env:2: <random> is no secret"):
        environment.ensure(tmp_path)


def test_a_file_that_cannot_be_written_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "common.env.example").write_text("A=<random><random>\n")

    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(DeployError, match="No space left on device"):
        environment.ensure(tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == ["common.env.example"]
