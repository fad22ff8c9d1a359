"""ADD of an archive: what it holds, and what unpacking it makes of a file system.

As an engine does it (``pkg/archive.Unpack`` in a chroot of the destination), for archives of plain
files, folders and symbolic links; any other is refused.
"""

from __future__ import annotations

import bz2
import gzip
import io
import stat
import tarfile
import zlib
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from builder.core.assemble import Refused
from builder.core.assemble.files import Files, Node, Owner
from builder.core.assemble.index import WHITEOUT
from builder.core.match.globs import clean

_BLOCK = tarfile.BLOCKSIZE
_GNU = b"ustar  \0"
_PREFIX = 345
_HIGHEST_ID = (1 << 31) - 1
_KINDS = {
    tarfile.REGTYPE: "file",
    tarfile.AREGTYPE: "file",
    tarfile.DIRTYPE: "dir",
    tarfile.SYMTYPE: "link",
}
# What a header may say beside the usual, and what of it engines do not pass over.
_HARMLESS_FOR_ALL = frozenset({"comment"})
_HARMFUL = ("xattr", "sparse", "acl", "hdrcharset")


class Member(NamedTuple):
    """``path`` is relative to the destination, "" for the destination itself."""

    path: str
    node: Node


def members_of(data: bytes, *, most: int) -> list[Member] | None:
    """What an archive holds, in order; None where ADD takes the file for something else.

    Raises:
        Refused: it holds what is not done here, or more than ``most`` bytes.

    """
    plain = _decompressed(data, most)
    if len(plain) < _BLOCK or not _starts_archive(plain):
        return None
    try:
        with tarfile.open(
            fileobj=io.BytesIO(plain), mode="r:", encoding="utf-8", errors="surrogateescape"
        ) as archive:
            found = [_member(archive, plain, each) for each in archive]
            end, common = archive.offset, archive.pax_headers
    except (tarfile.TarError, ValueError, OverflowError) as error:
        raise Refused(f"ADD takes an archive that cannot be read: {error}") from error
    if any(plain[end : end + 2 * _BLOCK]):
        raise Refused("ADD takes an archive that is broken in the middle")
    if not common.keys() <= _HARMLESS_FOR_ALL:
        raise Refused("ADD takes an archive with headers for all of its members")
    return found


def _decompressed(data: bytes, most: int) -> bytes:
    try:
        if data.startswith(b"\x1f\x8b"):
            with gzip.GzipFile(fileobj=io.BytesIO(data)) as stream:
                plain = stream.read(most + 1)
        elif data.startswith(b"BZh"):
            with bz2.BZ2File(io.BytesIO(data)) as stream:
                plain = stream.read(most + 1)
        elif data.startswith((b"\xfd7zXZ", b"\x28\xb5\x2f\xfd")):
            # Engines leave these to programs of their machine, which may lack them.
            raise Refused("ADD takes a file that is compressed with xz or zstd")
        else:
            plain = data
    except (OSError, EOFError, ValueError, zlib.error) as error:
        raise Refused(f"ADD takes a file that cannot be decompressed: {error}") from error
    if len(plain) > most:
        raise Refused(f"ADD unpacks more than {most >> 20} MiB")
    return plain


def _starts_archive(plain: bytes) -> bool:
    try:
        tarfile.TarInfo.frombuf(plain[:_BLOCK], "utf-8", "surrogateescape")
    except tarfile.HeaderError:
        return False
    return True


def _member(archive: tarfile.TarFile, plain: bytes, member: tarfile.TarInfo) -> Member:
    name = member.name
    kind = _KINDS.get(member.type)
    if kind is None:
        raise Refused(f'ADD unpacks "{name}", which is no file, folder or link')
    header = plain[member.offset_data - _BLOCK : member.offset_data]
    odd = (
        ".." in name.split("/")
        or any(part.startswith(WHITEOUT) for part in name.split("/"))
        # GNU's tar may have times where others have the start of the name.
        or (header[257:265] == _GNU and header[_PREFIX] != 0)
        or not 0 <= member.uid <= _HIGHEST_ID
        or not 0 <= member.gid <= _HIGHEST_ID
    )
    if odd or _says_more(member.pax_headers):
        raise Refused(f'ADD unpacks "{name}", of which engines may think differently')
    path = clean(f"/{name}")[1:]
    if not path and kind != "dir":
        raise Refused(f'ADD unpacks "{name}", which is not below the destination')
    mode = member.mode & 0o7777
    if kind == "link":
        return Member(path, Node("link", 0o777, member.uid, member.gid, link=member.linkname))
    if kind == "dir":
        return Member(path, Node("dir", mode, member.uid, member.gid))
    stream = archive.extractfile(member)
    content = stream.read() if stream is not None else b""
    if len(content) != member.size:
        raise Refused(f'ADD unpacks "{name}", which is cut off')
    return Member(path, Node("file", mode, member.uid, member.gid, len(content), content=content))


def _says_more(headers: Mapping[str, str]) -> bool:
    return any(word in key.lower() for key in headers for word in _HARMFUL)


def unpack(files: Files, members: Sequence[Member], target: str, owner: Owner | None) -> None:
    """Put the members below the target, which is made if it is not there.

    Raises:
        Refused: a member comes to lie where it cannot be known what an engine does.

    """
    root = files.resolve(target)
    files.make_folders(root, owner)
    for member in members:
        if member.path:
            _put(files, root, member)


def _put(files: Files, root: str, member: Member) -> None:
    above = root
    *folders, name = member.path.split("/")
    for part in folders:
        above = f"{above}/{part}".lstrip("/")
        there = files.find(above)
        if there is None:
            _imply(files, above)
        elif there.kind != "dir":
            raise Refused(f'ADD unpacks something below "/{above}", which is no folder')
    path = f"{above}/{name}".lstrip("/")
    there = files.find(path)
    if there is not None and there.kind == "dir" and member.node.kind != "dir":
        raise Refused(f'ADD unpacks a {member.node.kind} over the folder "/{path}"')
    files.put(path, member.node)


def _imply(files: Files, path: str) -> None:
    """Make a folder that the archive has something in, but no entry for."""
    above = files.find(path.rpartition("/")[0])
    if above is None or above.mode & stat.S_ISGID:
        raise Refused(f'ADD makes the folder "/{path}" in one with the set-group-ID bit')
    files.put(path, Node("dir", 0o755, 0, 0))
