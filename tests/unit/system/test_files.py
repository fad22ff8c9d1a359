"""A file is replaced as a whole or not at all."""

from __future__ import annotations

import os
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from builder.core.keys import key_tag
from builder.system import files
from builder.system.files import KnownImages, replace_file


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


# -- images that were made here ------------------------------------------------------------------


def test_an_image_is_known_by_its_key_and_the_tests_that_it_has_passed(tmp_path: Path) -> None:
    known = KnownImages(tmp_path / "state" / "images.json")
    assert known.ids() == {}
    known.add("sha256:a", "k" * 64, "")
    known.add("sha256:b", "k" * 64, "t")
    known.add("sha256:c", "k" * 64, "")
    known.add("sha256:a", "k" * 64, "")
    assert KnownImages(tmp_path / "state" / "images.json").ids() == {
        key_tag("k" * 64): ["sha256:c", "sha256:a"],
        key_tag("k" * 64, "t"): ["sha256:b"],
    }


def test_only_the_newest_images_are_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "MOST_KEYS", 2)
    known = KnownImages(tmp_path / "images.json")
    for key in "abac":
        known.add(f"sha256:{key}", key, "")
    assert list(known.ids()) == ["key-a", "key-c"]
    for number in range(files.MOST_IDS + 1):
        known.add(f"sha256:{number}", "c", "")
    assert len(known.ids()["key-c"]) == files.MOST_IDS


@pytest.mark.parametrize("content", ["", "[]", '{"a": 1}', '{"a": [1]}', "\0"])
def test_a_file_that_says_nothing_of_images_knows_none(tmp_path: Path, content: str) -> None:
    file = tmp_path / "images.json"
    file.write_text(content)
    assert KnownImages(file).ids() == {}
    KnownImages(file).add("sha256:a", "k", "")
    assert KnownImages(file).ids() == {"key-k": ["sha256:a"]}


def test_a_state_folder_that_cannot_be_written_costs_no_more_than_a_build(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("a file")
    known = KnownImages(tmp_path / "state" / "images.json")
    known.add("sha256:a", "k", "")
    assert known.ids() == {}


def test_runs_at_one_time_forget_nothing_of_each_other(tmp_path: Path) -> None:
    both = [KnownImages(tmp_path / "images.json") for _ in range(2)]
    with ThreadPoolExecutor(8) as pool:
        for number in range(40):
            pool.submit(both[number % 2].add, f"sha256:{number}", f"{number}", "")
    assert len(both[0].ids()) == 40
