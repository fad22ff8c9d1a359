"""A packed context holds what the ignore rules leave, with modes and links, owned by root."""

from __future__ import annotations

import os
import tarfile
import threading
from pathlib import Path

import pytest

from builder.core.dockerfile.parse import parse
from builder.core.errors import InterruptedRunError
from builder.engines import BuildRequest
from builder.engines.posted import dockerfile_name, hidden, packed


def tree(folder: Path, ignore: str | None = None) -> BuildRequest:
    (folder / "sub").mkdir()
    (folder / "Dockerfile").write_text("FROM x\n", encoding="utf-8")
    (folder / "run.sh").write_text("#!/bin/sh\n", encoding="utf-8")
    (folder / "run.sh").chmod(0o755)
    (folder / "sub" / "data").write_text("data", encoding="utf-8")
    (folder / "sub" / "secret").write_text("secret", encoding="utf-8")
    (folder / "link").symlink_to("sub/data")
    os.mkfifo(folder / "pipe")
    if ignore is not None:
        (folder / ".dockerignore").write_text(ignore, encoding="utf-8")
    return BuildRequest(
        image="app",
        parsed=parse(b"FROM x\n", "Dockerfile"),
        context=folder,
        dockerfile=folder / "Dockerfile",
        dockerfile_label="app/Dockerfile",
        tags=(),
    )


def entries(request: BuildRequest, *always: str) -> dict[str, tarfile.TarInfo]:
    with (
        packed(request, threading.Event(), always=always) as archive,
        tarfile.open(fileobj=archive) as tar,
    ):
        return {entry.name: entry for entry in tar}


def test_files_folders_and_links_go_in_and_pipes_do_not(tmp_path: Path) -> None:
    found = entries(tree(tmp_path))

    assert list(found) == ["Dockerfile", "link", "run.sh", "sub", "sub/data", "sub/secret"]
    assert found["run.sh"].mode == 0o755
    assert (found["link"].issym(), found["link"].linkname) == (True, "sub/data")
    assert {(entry.uid, entry.gid) for entry in found.values()} == {(0, 0)}
    assert found["sub/data"].mtime == int((tmp_path / "sub" / "data").stat().st_mtime)


def test_what_the_ignore_file_leaves_out_stays_out(tmp_path: Path) -> None:
    found = entries(tree(tmp_path, "sub/secret\nDockerfile\n.dockerignore\n"))

    assert list(found) == ["link", "run.sh", "sub", "sub/data"]


def test_what_the_builder_itself_must_read_can_be_put_in_all_the_same(tmp_path: Path) -> None:
    request = tree(tmp_path, "*\n!run.sh\n")

    assert list(entries(request, "Dockerfile", ".dockerignore")) == [
        ".dockerignore",
        "Dockerfile",
        "run.sh",
    ]
    assert hidden(request) == "Dockerfile"


def test_nothing_is_hidden_where_the_rules_leave_the_dockerfile_in(tmp_path: Path) -> None:
    assert hidden(tree(tmp_path, "sub\n")) is None


def test_the_dockerfile_is_named_relative_to_the_context(tmp_path: Path) -> None:
    assert dockerfile_name(tree(tmp_path)) == "Dockerfile"


def test_packing_stops_when_the_run_is_cancelled(tmp_path: Path) -> None:
    cancel = threading.Event()
    cancel.set()

    with pytest.raises(InterruptedRunError):
        packed(tree(tmp_path), cancel)


def test_a_name_that_is_no_utf8_goes_in_as_its_bytes(tmp_path: Path) -> None:
    request = tree(tmp_path)
    (Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9"))).write_text("x", encoding="utf-8")
    with packed(request, threading.Event()) as archive, tarfile.open(fileobj=archive) as tar:
        names = [os.fsencode(name) for name in tar.getnames()]

    assert b"caf\xe9" in names
