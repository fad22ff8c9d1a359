"""What the assembler reads: archives that ADD would unpack, contexts, layers; when it says no."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from builder.core.assemble import InContext, InLayer, Refused
from builder.core.assemble.assemble import thin_archive
from builder.core.assemble.copy import is_archive
from builder.core.assemble.index import LayerIndex
from builder.core.dockerfile.model import ContextRead, Via
from builder.core.dockerfile.parse import parse
from builder.core.errors import Location
from builder.core.reference import Reference
from builder.core.registry_content import OCI_INDEX, Descriptor, Manifest
from builder.core.schedule import RetryPolicy
from builder.engines import BuildRequest
from builder.engines.base_layers import Contents, context_sources, for_platform
from builder.engines.layer_cache import LayerIndexes
from builder.engines.together import created_at
from builder.registry.client import Registry
from builder.system.resources import SystemClock
from tests.unit.core.test_assembler_image import make


def archive(**files: bytes) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return out.getvalue()


def read(*sources: str) -> ContextRead:
    return ContextRead(via=Via.COPY, sources=sources, location=Location("Dockerfile", 1))


@pytest.fixture
def context(tmp_path: Path) -> Path:
    (tmp_path / "d").mkdir()
    (tmp_path / "d/f").write_text("f", encoding="utf-8")
    (tmp_path / "d/f").chmod(0o640)
    return tmp_path


def sources(context: Path, *names: str) -> list[tuple[str, list[str]]]:
    [found] = context_sources(context, context / "Dockerfile", [read(*names)])
    return [(source.name, [path for path, _ in source.below]) for source in found]


@pytest.mark.parametrize("pack", [bytes, gzip.compress, bz2.compress, lzma.compress])
def test_an_archive_is_known_by_its_start(pack: Callable[[bytes], bytes]) -> None:
    assert is_archive(pack(archive(f=b"x"))[:512])


@pytest.mark.parametrize("data", [b"", b"#!/bin/sh\n", bytes(512), b"x" * 512])
def test_other_files_are_no_archives(data: bytes) -> None:
    assert not is_archive(data)


def test_what_is_in_the_context_belongs_to_root(context: Path) -> None:
    [[source]] = context_sources(context, context / "Dockerfile", [read("d")])
    [(path, node)] = source.below
    assert (source.name, path) == ("d", "f")
    assert node[:5] == ("file", 0o640, 0, 0, 1)
    assert node.content == InContext(path="d/f")


def test_a_source_that_is_missing_is_refused(context: Path) -> None:
    with pytest.raises(Refused, match="the context cannot be read"):
        sources(context, "missing")


def test_a_pipe_in_a_folder_is_refused(context: Path) -> None:
    os.mkfifo(context / "d/pipe")
    with pytest.raises(Refused, match="no file, folder or link"):
        sources(context, "d")


def test_hard_links_in_one_source_are_refused_and_others_are_not(context: Path) -> None:
    os.link(context / "d/f", context / "g")
    assert sources(context, "d", "g") == [("d", ["f"]), ("g", [])]
    os.link(context / "d/f", context / "d/h")
    with pytest.raises(Refused, match="hard link"):
        sources(context, "d")


def test_links_in_what_a_wildcard_finds_are_refused(context: Path) -> None:
    (context / "d/link").symlink_to("f")
    assert sources(context, "d") == [("d", ["f", "link"])]
    with pytest.raises(Refused, match="finds the link"):
        sources(context, "d*")


def test_a_layer_is_gone_through_once_for_all_that_is_wanted(context: Path) -> None:
    opened: list[str] = []

    def opener(layer: str) -> io.BytesIO:
        opened.append(layer)
        return io.BytesIO(gzip.compress(archive(a=b"1", b=b"2", c=b"3")))

    contents = Contents(context, opener)
    wanted = [InLayer(layer="one", path=path) for path in ("a", "c")]
    contents.want(wanted)
    assert [contents.read(each) for each in wanted] == [b"1", b"3"]
    assert opened == ["one"]


def test_an_index_that_is_kept_needs_no_registry(tmp_path: Path) -> None:
    layer = Descriptor(media_type="", digest="sha256:" + "0" * 64, size=1)
    nowhere = Registry.connect({}, clock=SystemClock(), retry=RetryPolicy(retries=0))
    index = LayerIndex(entries={})
    LayerIndexes(nowhere, tmp_path / "kept").keep(layer.digest, index)
    again = LayerIndexes(nowhere, tmp_path / "kept")
    assert again.of(Reference.parse("127.0.0.1:1/none"), layer) == index
    assert nowhere.traffic.requests == 0


def test_a_thin_archive_names_all_layers_and_holds_the_new_one() -> None:
    made = make("FROM base\nCOPY f /a\n")
    assert made.layer is not None
    with tarfile.open(fileobj=io.BytesIO(thin_archive(made, ["a/b:1"]))) as tar:
        names = tar.getnames()
        listing = tar.extractfile("manifest.json")
        assert listing is not None
        assert '"RepoTags": ["a/b:1"]' in listing.read().decode()
    new = f"{made.layer.digest[7:]}.tar"
    assert names == ["manifest.json", f"{made.config_digest[7:]}.json", new]


@pytest.mark.parametrize(
    ("args", "label", "seconds"),
    [
        ({}, "1970-01-01T00:01:00Z", 60),
        ({"SOURCE_DATE_EPOCH": "7"}, "1970-01-01T00:01:00Z", 7),
        ({}, "", 0),
        ({}, "yesterday", 0),
    ],
)
def test_the_time_is_that_of_the_source(args: dict[str, str], label: str, seconds: int) -> None:
    request = BuildRequest(
        image="a",
        parsed=parse(b"FROM x\n", "Dockerfile"),
        context=Path(),
        dockerfile=Path("Dockerfile"),
        dockerfile_label="Dockerfile",
        tags=("a:1",),
        args=args,
        labels={"org.opencontainers.image.created": label},
    )
    assert created_at(request) == seconds


@pytest.mark.parametrize(
    ("platform", "offered", "taken"),
    [
        ("linux/amd64", ["linux/arm64", "linux/amd64"], 1),
        ("linux/amd64", ["linux/amd64/v1", "unknown/unknown"], 0),
        ("linux/arm64", ["linux/amd64", "linux/arm64/v8"], 1),
        ("linux/arm/v7", ["linux/arm64/v8", "linux/arm/v7"], 1),
        ("linux/amd64", ["linux/arm64", "windows/amd64"], None),
        ("linux/amd64", ["linux/amd64", "linux/amd64/v3"], None),
        ("linux/amd64", ["linux/amd64/v3"], None),
        ("linux/arm", ["linux/arm/v6", "linux/arm/v7"], None),
    ],
)
def test_of_an_index_that_image_is_taken_which_every_engine_would_take(
    platform: str, offered: list[str], taken: int | None
) -> None:
    digests = [f"sha256:{number:064x}" for number in range(len(offered))]
    index = Manifest(
        media_type=OCI_INDEX,
        digest="",
        body=b"",
        manifests=tuple(
            Descriptor(media_type="", digest=digest, size=1, platform=each)
            for digest, each in zip(digests, offered, strict=True)
        ),
    )
    assert for_platform(index, platform) == (None if taken is None else digests[taken])
