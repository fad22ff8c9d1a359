"""What we say a COPY reads is what BuildKit copies: same paths, kinds, modes, content."""

from __future__ import annotations

import json
import os
import random
import re
import subprocess
import tarfile
from collections.abc import Sequence
from pathlib import Path

import pytest
from msgspec import Struct

from builder.core.context import ContextFile, ContextSource
from builder.core.dockerfile.model import ContextRead, Via
from builder.core.errors import InputError, InputErrors, Location
from builder.core.globs import has_wildcard
from builder.tree.discover import read_context

pytestmark = pytest.mark.engine

SEEDS = range(10)
COPIES = 20
REFUSALS = 3  # tried with the engine for each seed; every one is a build of its own

STEMS = ["a", "b", "ab", "c", "é", "x y", "-", "]", "~", ".h", "#", "{a,b}", "$v", "+", "(b)"]
ENDS = ["", "", ".txt", ".md", ".tar.x"]
MODES = [0o644, 0o755, 0o600, 0o4755, 0o2711, 0o400]
FOLDER_MODES = [0o755, 0o700, 0o1777, 0o2775]

Copied = dict[str, tuple[str, int, bytes]]


class NotBuiltError(Exception):
    pass


class Case(Struct, frozen=True, kw_only=True):
    root: Path
    dockerfile: Path
    reads: tuple[ContextRead, ...]


def test_generated_copies_are_those_of_buildkit(tmp_path: Path) -> None:
    compared = nonempty = 0
    for seed in SEEDS:
        case = generate(seeded(seed), tmp_path / str(seed))
        reads = without_refused(case)
        found = read_context(case.root, case.dockerfile, reads)
        built = build(case.root, reads, case.dockerfile)
        for read, sources in zip(reads, found.sources, strict=True):
            copied = built.get(str(read.location.line), {})
            assert copied == predicted(case.root, sources), describe(seed, case, read)
            compared += 1
            nonempty += bool(copied)
    assert compared >= 80, compared
    assert nonempty >= 60, nonempty


def test_what_is_refused_is_refused_by_buildkit(tmp_path: Path) -> None:
    tried = 0
    for seed in SEEDS:
        case = generate(seeded(seed), tmp_path / str(seed))
        for read in [read for read in case.reads if refusal(case, [read])][:REFUSALS]:
            try:
                built = build(case.root, [read], case.dockerfile)
            except NotBuiltError:
                tried += 1
            else:
                pytest.fail(f"{describe(seed, case, read)}: built {built}")
    assert tried >= 10, tried


def test_a_file_that_buildkit_would_empty_is_refused(tmp_path: Path) -> None:
    (tmp_path / "d/keep").mkdir(parents=True)
    (tmp_path / "d/keep/f").write_text("content")
    (tmp_path / ".dockerignore").write_text("d\n!d/keep\nd\n")
    read = copy("d", 1)
    copied = build(tmp_path, [read], tmp_path / "Dockerfile")["1"]
    assert copied["keep/f"] == ("file", 0o644, b"")
    with pytest.raises(InputError, match="as an empty file"):
        read_context(tmp_path, tmp_path / "Dockerfile", [read])


def test_a_dockerfile_s_own_ignore_file_has_priority_even_when_empty(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("a")
    (tmp_path / ".dockerignore").write_text("a")
    (tmp_path / "Dockerfile.dockerignore").write_text("")
    read = copy("a", 1)
    found = read_context(tmp_path, tmp_path / "Dockerfile", [read])
    assert build(tmp_path, [read], tmp_path / "Dockerfile")["1"] == predicted(
        tmp_path, found.sources[0]
    )


def test_odd_names_are_copied_with_their_folder(tmp_path: Path) -> None:
    folder = tmp_path / "d"
    folder.mkdir()
    for name in (b"\\", b"]", b"new\nline", b"bad\xff", b"st*r", b"~", b"a\\*b"):
        Path(os.fsdecode(bytes(folder) + b"/" + name)).write_bytes(b"d/" + name)
    read = copy("d", 1)
    found = read_context(tmp_path, tmp_path / "Dockerfile", [read])
    assert len(found.files) == 8
    assert build(tmp_path, [read], tmp_path / "Dockerfile")["1"] == predicted(
        tmp_path, found.sources[0]
    )


# -- generated contexts -----------------------------------------------------------------------


def seeded(seed: int) -> random.Random:
    return random.Random(seed)  # noqa: S311 - the same contexts each time


def generate(rng: random.Random, root: Path) -> Case:
    """A context, its ignore file and many COPY lines; names are unique, so that no two copies of
    one wildcard collide, and a file holds its own path.
    """
    root.mkdir()
    folders = [""]
    paths: list[str] = []
    for number in range(rng.randint(14, 26)):
        parent = rng.choice(folders)
        name = f"{rng.choice(STEMS)}{number}{rng.choice(ENDS)}"
        path = f"{parent}/{name}" if parent else name
        place = root / path
        kind = rng.choices(["file", "folder", "link"], [6, 4, 2])[0]
        if kind == "folder":
            place.mkdir()
            folders.append(path)
        elif kind == "link":
            target = rng.choice([*paths, "nowhere"])
            up = "../" * path.count("/")
            place.symlink_to(rng.choice([f"/{target}", f"{up}{target}"]))
        else:
            place.write_text(path)
            place.chmod(rng.choice(MODES))
        paths.append(path)
    for folder in folders[1:]:
        (root / folder).chmod(rng.choice(FOLDER_MODES))
    rules = [ignore_line(rng, paths) for _ in range(rng.randint(0, 3))]
    (root / ".dockerignore").write_text("\n".join(rules))
    reads = [copy(source(rng, paths), line) for line in range(1, COPIES + 1)]
    return Case(root=root, dockerfile=root.with_name(f"{root.name}.Dockerfile"), reads=tuple(reads))


def source(rng: random.Random, paths: Sequence[str]) -> str:
    parts = rng.choice(paths).split("/")
    for at, part in enumerate(parts):
        if rng.random() < 0.2:
            parts[at] = wildcard(rng, part)
    if rng.random() < 0.15:
        parts.append("*")
    return rng.choice(["", "", "/", "./"]) + "/".join(parts) + rng.choice(["", "", "/"])


def wildcard(rng: random.Random, name: str) -> str:
    stem, dot, end = name.rpartition(".")
    choices = ["*", f"{name[0]}*", f"*{name[-1]}", name[:-1] + "?", f"*{dot}{end}", "[^a]*", "**"]
    if name[0] not in "]^-":
        choices.append(f"[{name[0]}z]{name[1:]}")
    if stem:
        choices.append(f"{stem}.*")
    return rng.choice(choices)


def ignore_line(rng: random.Random, paths: Sequence[str]) -> str:
    parts = rng.choice(paths).split("/")
    parts = parts[: rng.randint(1, len(parts))]
    if rng.random() < 0.5:
        parts[-1] = wildcard(rng, parts[-1])
    if rng.random() < 0.3:
        parts[0] = "**"
    text = "/".join(parts)
    return rng.choice(["", "", "", "!", "/", "! "]) + text


def copy(text: str, line: int) -> ContextRead:
    return ContextRead(via=Via.COPY, sources=(text,), location=Location("Dockerfile", line))


# -- prediction and engine --------------------------------------------------------------------


def refusal(case: Case, reads: Sequence[ContextRead]) -> list[InputError]:
    try:
        read_context(case.root, case.dockerfile, reads)
    except InputErrors as errors:
        return list(errors.errors)
    except InputError as error:
        return [error]
    return []


def without_refused(case: Case) -> list[ContextRead]:
    """The reads that can be built together; leaving one out can make another impossible."""
    reads = list(case.reads)
    while bad := {e.where.line for e in refusal(case, reads) if e.where} or stumbles(case, reads):
        reads = [read for read in reads if read.location.line not in bad]
    return reads


def stumbles(case: Case, reads: Sequence[ContextRead]) -> set[int | None]:
    """Lines that only some versions of BuildKit build: older ones want to find, too, what the links
    below a folder that a wildcard matched lead to.
    """
    found = read_context(case.root, case.dockerfile, reads)
    return {
        read.location.line
        for read, sources in zip(reads, found.sources, strict=True)
        if has_wildcard(read.sources[0])
        and any(file.kind == "link" for one in sources for file in one.below)
    }


def predicted(root: Path, sources: Sequence[ContextSource]) -> Copied:
    copied: Copied = {}
    for one in sources:
        if one.file is not None and one.file.kind == "file":
            copied[one.name] = seen(root, one.file)
        start = len(one.path) + 1 if one.path else 0
        copied.update({file.path[start:]: seen(root, file) for file in one.below})
    return copied


def seen(root: Path, file: ContextFile) -> tuple[str, int, bytes]:
    content = (root / file.path).read_bytes() if file.kind == "file" else os.fsencode(file.link)
    assert file.size == (len(content) if file.kind == "file" else 0)
    return file.kind, file.mode, content


def build(root: Path, reads: Sequence[ContextRead], dockerfile: Path) -> dict[str, Copied]:
    """Build FROM scratch with one COPY for each read; what came out, by line."""
    lines = ["FROM scratch"]
    for read in reads:
        words = [re.sub(r"([\\$'\"])", r"\\\1", text) for text in read.sources]
        lines.append(f"COPY {json.dumps([*words, f'/{read.location.line}/'])}")
    dockerfile.write_text("\n".join(lines))
    output = dockerfile.with_suffix(".tar")
    command = ["docker", "buildx", "build", "--builder", "default", "--quiet", "--no-cache"]
    command += ["--file", str(dockerfile), "--output", f"type=tar,dest={output}", str(root)]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=120)
    if done.returncode:
        assert "failed to solve" in done.stderr, done.stderr
        raise NotBuiltError(f"{dockerfile.read_text()}\n{done.stderr}")
    built: dict[str, Copied] = {}
    with tarfile.open(output, encoding="utf-8", errors="surrogateescape") as archive:
        for member in archive:
            line, _, path = member.name.partition("/")
            if path:
                built.setdefault(line, {})[path] = unpacked(archive, member)
    return built


def unpacked(archive: tarfile.TarFile, member: tarfile.TarInfo) -> tuple[str, int, bytes]:
    if member.isdir():
        return "dir", member.mode, b""
    if member.issym():
        return "link", member.mode, os.fsencode(member.linkname)
    stream = archive.extractfile(member)
    assert stream is not None, member.name
    return "file", member.mode, stream.read()


def describe(seed: int, case: Case, read: ContextRead) -> str:
    rules = (case.root / ".dockerignore").read_text()
    return f"seed {seed}, COPY {read.sources[0]!r}, rules {rules!r}"
