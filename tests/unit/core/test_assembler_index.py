"""The index of layers: what is there, what is hidden, and what engines would not agree on."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import tarfile
from collections.abc import Iterable

import pytest

from builder.core.assemble import Refused
from builder.core.assemble.index import LayerEntry, LayerIndex, Layers, read_layer

CAPABILITY = {"SCHILY.xattr.security.capability": "\x01"}


def member(name: str, kind: bytes = tarfile.REGTYPE, **changes: object) -> tarfile.TarInfo:
    found = tarfile.TarInfo(name)
    found.type = kind
    found.mode = 0o755 if kind == tarfile.DIRTYPE else 0o644
    for key, value in changes.items():
        setattr(found, key, value)
    return found


def folder(name: str, **changes: object) -> tarfile.TarInfo:
    return member(name, tarfile.DIRTYPE, **changes)


def archive(*members: tarfile.TarInfo | tuple[tarfile.TarInfo, bytes]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for each in members:
            info, data = each if isinstance(each, tuple) else (each, b"")
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return out.getvalue()


def index(*members: tarfile.TarInfo | tuple[tarfile.TarInfo, bytes]) -> LayerIndex:
    return read_layer(io.BytesIO(archive(*members)))


def layers(*each: LayerIndex) -> Layers:
    return Layers(each)


def kind_at(found: Layers, path: str) -> str | None:
    there = found.find(path)
    return None if there is None else there.entry.kind


def names(found: Iterable[str]) -> list[str]:
    return list(found)


def test_an_entry_has_kind_mode_owner_size_and_target() -> None:
    found = index(
        folder("./etc", uid=1, gid=2),
        (member("etc/f", mode=0o4711), b"abc"),
        member("lib", tarfile.SYMTYPE, linkname="usr/lib"),
    )
    assert found.entries["etc"] == LayerEntry("dir", 0o755, 1, 2)
    assert found.entries["etc/f"] == LayerEntry("file", 0o4711, 0, 0, 3)
    assert found.entries["lib"] == LayerEntry("link", 0o777, 0, 0, 0, "usr/lib")


@pytest.mark.parametrize("pack", [bytes, gzip.compress, bz2.compress, lzma.compress])
def test_a_layer_may_be_compressed_in_several_ways(pack: object) -> None:
    assert callable(pack)
    data = pack(archive((member("f"), b"x")))
    assert read_layer(io.BytesIO(data)).entries["f"].size == 1


def test_a_broken_layer_is_refused() -> None:
    data = gzip.compress(archive((member("f"), b"x" * 5000)))[:60]
    with pytest.raises(Refused, match="cannot be read"):
        read_layer(io.BytesIO(data))


def test_passwd_and_group_are_kept_and_nothing_else() -> None:
    found = index(folder("etc"), (member("etc/passwd"), b"u:x:1:2"), (member("etc/shadow"), b"no"))
    assert found.accounts == {"etc/passwd": "u:x:1:2"}


def test_an_index_survives_being_kept() -> None:
    found = index(folder("a"), member("a/.wh.b"), member("a/.wh..wh..opq"), (member("c"), b"1"))
    assert LayerIndex.load(found.dump()) == found
    assert LayerIndex.load("nonsense") is None
    assert LayerIndex.load(found.dump().replace('"version":1', '"version":0')) is None


def test_a_whiteout_hides_what_is_below_it() -> None:
    lower = index(folder("a"), folder("a/b"), member("a/b/c"))
    found = layers(lower, index(folder("a"), member("a/.wh.b")))
    assert kind_at(found, "a") == "dir"
    assert kind_at(found, "a/b") is None
    assert kind_at(found, "a/b/c") is None
    assert names(found.names("a")) == []


def test_an_opaque_folder_shows_only_its_own() -> None:
    lower = index(folder("a"), member("a/old"))
    found = layers(lower, index(folder("a"), member("a/.wh..wh..opq"), member("a/new")))
    assert names(found.names("a")) == ["new"]


def test_a_file_in_place_of_a_folder_hides_what_was_in_it() -> None:
    found = layers(index(folder("a"), member("a/b")), index(member("a")))
    assert kind_at(found, "a") == "file"
    assert kind_at(found, "a/b") is None


def test_the_uppermost_entry_counts() -> None:
    found = layers(index(folder("a", mode=0o700)), index(folder("a", mode=0o711)))
    there = found.find("a")
    assert there is not None
    assert (there.entry.mode, there.layer) == (0o711, 1)


def test_a_folder_without_an_entry_is_as_all_engines_make_it() -> None:
    assert kind_at(layers(index(member("a/b"))), "a") == "dir"
    same = layers(index(folder("a")), index(member("a/b")))
    assert kind_at(same, "a") == "dir"


@pytest.mark.parametrize(
    "lower", [folder("a", mode=0o1777), folder("a", uid=5), member("a", tarfile.SYMTYPE)]
)
def test_a_folder_without_an_entry_over_another_thing_is_refused(lower: tarfile.TarInfo) -> None:
    with pytest.raises(Refused, match="no entry for the folder"):
        layers(index(lower), index(member("a/b"))).find("a")


def test_hard_links_and_capabilities_are_marked() -> None:
    found = index(
        member("a", pax_headers=CAPABILITY),
        member("b", mode=0o600),
        member("c", tarfile.LNKTYPE, linkname="b"),
    )
    assert found.entries["a"].marks == "c"
    assert found.entries["b"].marks == "l"
    assert found.entries["c"] == LayerEntry("file", 0o600, 0, 0, 0, "", "l", "b")


def test_a_hard_link_into_another_layer_is_refused_where_it_matters() -> None:
    found = layers(index(member("a")), index(member("b", tarfile.LNKTYPE, linkname="a")))
    assert kind_at(found, "a") == "file"
    with pytest.raises(Refused, match="link to a file of another one"):
        found.find("b")


@pytest.mark.parametrize(
    "members",
    [
        (member("a"), member(".wh.a")),
        (member("a/b"), member(".wh.a")),
        (member("a"), member("a/b")),
        (folder("a"), member("a")),
        (member("a/../../b"),),
    ],
)
def test_a_layer_that_engines_read_in_two_ways_is_refused(
    members: tuple[tarfile.TarInfo, ...],
) -> None:
    with pytest.raises(Refused):
        index(*members)
