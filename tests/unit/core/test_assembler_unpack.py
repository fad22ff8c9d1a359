"""ADD of an archive: what is one, what it makes of the files below, and what is refused."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import tarfile
from collections.abc import Callable, Mapping

import pytest

from builder.core.assemble import Refused
from builder.core.assemble.copy import ArchiveMember, members_of, unpack
from builder.core.assemble.files import Below, Node, Owner, StageFiles
from builder.core.assemble.index import LayerEntry, LayerIndex, Layers

MOST = 1 << 20
ENTRIES = {
    "etc": LayerEntry("dir", 0o750, 1, 1),
    "etc/issue": LayerEntry("file", 0o600, 0, 0, 1),
    "lib": LayerEntry("link", 0o777, 0, 0, 0, "usr/lib"),
    "usr": LayerEntry("dir", 0o755, 0, 0),
    "usr/lib": LayerEntry("dir", 0o755, 0, 0),
    "group": LayerEntry("dir", 0o2775, 0, 8),
}
Change = Callable[[tarfile.TarInfo], None]


def archive(*members: tuple[str, bytes, Change | None], kind: int = tarfile.PAX_FORMAT) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=kind) as tar:
        for name, data, change in members:
            member = tarfile.TarInfo(name.rstrip("/"))
            member.type = tarfile.DIRTYPE if name.endswith("/") else tarfile.REGTYPE
            member.mode, member.uid, member.gid = 0o4711, 5, 6
            member.size = len(data)
            if change is not None:
                change(member)
            tar.addfile(member, io.BytesIO(data))
    return out.getvalue()


def link(to: str, kind: bytes = tarfile.SYMTYPE) -> Change:
    def change(member: tarfile.TarInfo) -> None:
        member.type, member.linkname = kind, to

    return change


SMALL = archive(("d/", b"", None), ("d/f", b"data", None), ("d/l", b"", link("../f")))


def added(*members: tuple[str, bytes, Change | None], target: str = "/") -> Mapping[str, Node]:
    files = StageFiles(Below(lambda: Layers([LayerIndex(entries=ENTRIES)]), ["sha256:1"]))
    found = members_of(archive(*members), most=MOST)
    assert found is not None
    unpack(files, found, target, None)
    return files.changes


@pytest.mark.parametrize("pack", [bytes, gzip.compress, bz2.compress])
def test_the_members_are_those_of_the_archive(pack: Callable[[bytes], bytes]) -> None:
    assert members_of(pack(SMALL), most=MOST) == [
        ArchiveMember("d", Node("dir", 0o4711, 5, 6)),
        ArchiveMember("d/f", Node("file", 0o4711, 5, 6, 4, content=b"data")),
        ArchiveMember("d/l", Node("link", 0o777, 5, 6, link="../f")),
    ]


@pytest.mark.parametrize(
    "data", [b"", b"text", b"t" * 2000, bytes(10240), gzip.compress(b"text" * 500)]
)
def test_what_is_no_archive_is_copied_as_it_is(data: bytes) -> None:
    assert members_of(data, most=MOST) is None


@pytest.mark.parametrize(
    "data",
    [
        lzma.compress(SMALL),
        b"\x28\xb5\x2f\xfd" + SMALL,
        gzip.compress(SMALL)[:-20],
        SMALL[:700],
        SMALL[:512] + b"x" * 512 + SMALL[1024:],
        SMALL[:1536] + bytes(512) + SMALL,
        archive(("f", b"", link("f", tarfile.LNKTYPE))),
        archive(("f", b"", link("", tarfile.FIFOTYPE))),
        archive(("../f", b"", None)),
        archive(("d/.wh.f", b"", None)),
        archive(("f", b"", lambda m: setattr(m, "pax_headers", {"SCHILY.xattr.user.a": "b"}))),
        archive(("f", b"", lambda m: setattr(m, "uid", 1 << 40))),
    ],
    ids=lambda data: str(len(data)),
)
def test_an_archive_that_is_out_of_the_ordinary_is_refused(data: bytes) -> None:
    with pytest.raises(Refused):
        members_of(data, most=MOST)


def test_an_archive_that_is_too_large_is_refused() -> None:
    with pytest.raises(Refused, match="more than 1 MiB"):
        members_of(gzip.compress(bytes(MOST + 1)), most=MOST)


def test_an_archive_of_git_has_a_comment_for_all_and_is_taken() -> None:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", pax_headers={"comment": "abcdef"}) as tar:
        tar.addfile(tarfile.TarInfo("f"))
    found = members_of(out.getvalue(), most=MOST)
    assert found is not None
    assert [member.path for member in found] == ["f"]


def test_members_replace_files_and_merge_with_folders() -> None:
    found = added(("etc/", b"", None), ("etc/issue", b"new", None))
    assert found["etc"] == Node("dir", 0o4711, 5, 6)
    assert found["etc/issue"].content == b"new"


def test_folders_that_lead_to_a_member_are_root_s() -> None:
    found = added(("a/b/f", b"", None), target="/new/")
    assert found["new/a/b"] == Node("dir", 0o755, 0, 0)
    assert found["new/a/b/f"].uid == 5


def test_the_destination_is_followed_and_keeps_its_own_mode() -> None:
    found = added(("./", b"", None), ("f", b"", None), target="/lib")
    assert set(found) == {"usr/lib/f"}


def test_a_folder_takes_the_place_of_a_link() -> None:
    found = added(("lib/", b"", None), ("lib/f", b"", None))
    assert (found["lib"].kind, found["lib/f"].kind) == ("dir", "file")


@pytest.mark.parametrize("name", ["lib/f", "etc/issue/f", "etc", "group/new/f"])
def test_a_member_that_comes_to_lie_in_an_odd_place_is_refused(name: str) -> None:
    with pytest.raises(Refused, match="ADD "):
        added((name, b"", None))


def test_the_owner_is_that_of_the_destination_alone() -> None:
    files = StageFiles(Below())
    unpack(files, [ArchiveMember("f", Node("file", 0o644, 5, 6))], "/x/", Owner(7, 8))
    assert (files.changes["x"].uid, files.changes["x/f"].uid) == (7, 5)
