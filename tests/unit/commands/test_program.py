"""The command itself: what it does to its process around `main`."""

from __future__ import annotations

import subprocess
import sys

import pytest

SCRIPT = """
import gc, sys
from builder.__main__ import program
sys.argv = ["ocbuild", *sys.argv[1:]]
try:
    sys.exit(program())
finally:
    print(gc.get_freeze_count() > 0, gc.isenabled())
"""


@pytest.mark.parametrize(("words", "code"), [(["--version"], 0), (["--nonsense"], 2)])
def test_nothing_is_collected_at_the_end_however_it_ends(words: list[str], code: int) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", SCRIPT, *words], capture_output=True, text=True, check=False
    )
    assert ended.returncode == code, ended.stderr
    assert ended.stdout.splitlines()[-1] == "True True"
    assert "Traceback" not in ended.stderr
