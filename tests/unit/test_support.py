"""The map of what tests share is true."""

from __future__ import annotations

import re
from pathlib import Path

import tests.support


def test_the_map_names_modules_that_there_are_and_each_once() -> None:
    named = re.findall(r"^    (\w+) ", str(tests.support.__doc__), re.MULTILINE)
    modules = {path.stem for path in Path(tests.support.__path__[0]).glob("[!_]*.py")}
    assert len(named) == len(set(named))
    assert modules.issuperset(named)
