"""A file is replaced as a whole or not at all."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from builder.system.files import replace_file


def test_a_file_is_made_with_its_folders_and_the_usual_rights(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "file.json"
    before = os.umask(0o027)
    try:
        replace_file(path, "text ✓\udcff")
    finally:
        os.umask(before)
    assert path.read_text(encoding="utf-8") == "text ✓\\udcff"
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert list(path.parent.iterdir()) == [path]


def test_a_reader_that_has_the_old_file_open_keeps_it(tmp_path: Path) -> None:
    path = tmp_path / "file"
    replace_file(path, "old")
    with path.open() as reader:
        replace_file(path, "new")
        assert reader.read() == "old"
    assert path.read_text() == "new"


def test_what_cannot_be_written_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    target = tmp_path / "taken"
    target.mkdir()
    with pytest.raises(OSError, match="taken"):
        replace_file(target, "text")
    assert list(tmp_path.iterdir()) == [target]
