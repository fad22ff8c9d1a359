"""Where the state folder is."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import pytest

from builder.system.files import state_dir
from builder.system.process import run

ROOT, USER = 0, 1000


@pytest.mark.parametrize(
    ("environ", "uid", "expected"),
    [
        ({"OCBUILD_STATE": "/srv/state"}, ROOT, "/srv/state"),
        ({"OCBUILD_STATE": "/srv/state", "HOME": "/home/u"}, USER, "/srv/state"),
        ({"XDG_STATE_HOME": "/ignored", "HOME": "/root"}, ROOT, "/var/lib/ocbuild"),
        ({"XDG_STATE_HOME": "/xdg", "HOME": "/home/u"}, USER, "/xdg/ocbuild"),
        ({"XDG_STATE_HOME": "relative", "HOME": "/home/u"}, USER, "/home/u/.local/state/ocbuild"),
        ({"OCBUILD_STATE": "", "HOME": "/home/u"}, USER, "/home/u/.local/state/ocbuild"),
    ],
)
def test_the_first_rule_that_applies_decides(
    environ: Mapping[str, str], uid: int, expected: str
) -> None:
    assert state_dir(environ, uid=uid) == Path(expected)


def test_a_relative_folder_is_made_absolute() -> None:
    assert state_dir({"OCBUILD_STATE": "here"}, uid=ROOT) == Path.cwd() / "here"


@pytest.mark.parametrize(
    "environ",
    [
        {"OCBUILD_STATE": "/srv/state", "HOME": "/home/u"},
        {"XDG_STATE_HOME": "/xdg", "HOME": "/home/u"},
        {"XDG_STATE_HOME": "relative", "HOME": "/home/u"},
        {"HOME": "/home/u"},
    ],
)
def test_the_set_up_scripts_follow_the_same_rule(environ: Mapping[str, str]) -> None:
    common = Path(__file__).parents[3] / "scripts" / "common.sh"
    done = run(
        ["/bin/sh", "-c", '. "$0"; state_dir', str(common)],
        env={**environ, "PATH": os.environ["PATH"]},
    )

    assert done.text == f"{state_dir(environ)}\n"
