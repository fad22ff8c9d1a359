"""COPY, ADD and WORKDIR on a file system, as BuildKit does them.

Copying is that of https://github.com/tonistiigi/fsutil/blob/master/copy/copy.go, unpacking that of
https://github.com/moby/moby/blob/master/pkg/archive/archive.go in a chroot of the destination, for
archives of plain files, folders and symbolic links; any other is refused. Where BuildKit would fail
(a file on a folder, a folder on a link), ``Refused`` is raised: an engine then fails with its own
message.
"""

from __future__ import annotations

import bz2
import gzip
import io
import stat
import tarfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from builder.core.assemble import Refused
from builder.core.assemble.files import Node, Owner, StageFiles, apart, whole
from builder.core.assemble.index import LINKED, WHITEOUT
from builder.core.globs import clean, compile_glob, has_wildcard


class CopySource(NamedTuple):
    """One thing to copy: ``name`` is what it is called in a destination folder.

    ``below`` is what a folder holds, by paths relative to it, each folder before its content.
    """

    name: str
    node: Node
    below: Sequence[tuple[str, Node]] = ()


def destination(workdir: str, written: str) -> str:
    """The destination as an absolute path; a "/" or "/." at its end says that it is a folder."""
    workdir = workdir or "/"
    if not written:
        path = workdir
    elif written.startswith("/"):
        path = written
    else:
        path = clean(f"{workdir}/{written}")
    if written in ("", ".") or written.endswith("/"):
        path += "/"
    found = clean(path)
    if path.endswith("/"):
        return found if found == "/" else f"{found}/"
    if path.endswith("/."):
        return f"{'' if found == '/' else found}/."
    return found


def copy(
    files: StageFiles,
    sources: Sequence[CopySource],
    target: str,
    *,
    owner: Owner | None,
    mode: int | None,
) -> None:
    """Put the sources where ``destination`` says; ``mode`` is that of ``--chmod``."""
    for source in sources:
        _copy_one(files, source, target, owner, mode)


def make_workdir(files: StageFiles, path: str, owner: Owner | None) -> None:
    if path != "/":
        files.make_folders(files.resolve(path[1:]), owner)


def _copy_one(
    files: StageFiles, source: CopySource, target: str, owner: Owner | None, mode: int | None
) -> None:
    head, _, tail = target.rpartition("/")
    files.make_folders(files.resolve(head if tail not in ("", ".") else target), owner)
    place = files.resolve(target)
    there = files.find(place)
    is_folder = source.node.kind == "dir"
    if not is_folder and there is not None and there.kind == "dir":
        if not source.name:
            raise Refused("a source has no name")
        place = f"{place}/{source.name}".lstrip("/")
    files.make_folders(
        place if is_folder and there is None else place.rpartition("/")[0],
        owner,
    )
    if not is_folder:
        _put_file(files, place, source.node, owner, mode)
        return
    if there is not None and there.kind != "dir":
        raise Refused(f'"/{place}" is no folder')
    for path, node in source.below:
        _put_below(files, f"{place}/{path}".lstrip("/"), node, owner, mode)


def _put_below(
    files: StageFiles, path: str, node: Node, owner: Owner | None, mode: int | None
) -> None:
    if node.kind != "dir":
        _put_file(files, path, node, owner, mode)
        return
    there = files.find(path)
    if there is not None and there.kind != "dir":
        raise Refused(f'"/{path}" is no folder')
    files.put(path, _owned(node, owner, mode))


def _put_file(
    files: StageFiles, path: str, node: Node, owner: Owner | None, mode: int | None
) -> None:
    there = files.find(path)
    if there is not None and there.kind == "dir":
        raise Refused(f'"/{path}" is a folder')
    files.put(path, _owned(node, owner, mode))


def _owned(node: Node, owner: Owner | None, mode: int | None) -> Node:
    uid, gid = owner or (node.uid, node.gid)
    own_mode = node.mode if mode is None or node.kind == "link" else mode
    return node._replace(uid=uid, gid=gid, mode=own_mode)


# -- sources in another file system -------------------------------------------------------------


def sources_in(files: StageFiles, written: str) -> list[CopySource]:
    """What a source of ``COPY --from`` stands for in the file system of a stage or an image.

    Raises:
        Refused: there is no such thing, or a copy of it cannot be known to be exact.

    """
    path = clean(f"/{written}")[1:]
    if not has_wildcard(path):
        return [_source(files, path)]
    parts = path.split("/")
    fixed = next(number for number, part in enumerate(parts) if has_wildcard(part))
    folder = files.resolve("/".join(parts[:fixed]))
    found = files.find(folder)
    if found is None or found.kind != "dir":
        raise Refused(f'there is no folder "/{folder}" to copy from')
    glob = compile_glob("/".join(parts[fixed:]))
    matches = _matching(files, folder, folder, glob.matches)
    return without_links([_source(files, match) for match in matches], written)


def without_links(sources: list[CopySource], written: str) -> list[CopySource]:
    """What a wildcard has found; BuildKit also follows the links in it, and fails if one is broken.

    Raises:
        Refused: there are links.

    """
    for source in sources:
        for path, node in source.below:
            if node.kind == "link":
                raise Refused(f'"{written}" finds the link "{source.name}/{path}"')
    return sources


def _matching(files: StageFiles, base: str, folder: str, matches: object) -> Iterator[str]:
    for name in files.names(folder):
        path = f"{folder}/{name}".lstrip("/")
        if callable(matches) and matches(path[len(base) :].lstrip("/")):
            yield path
            continue
        node = files.find(path)
        if node is not None and node.kind == "dir":
            yield from _matching(files, base, path, matches)


def _source(files: StageFiles, path: str) -> CopySource:
    place = files.resolve(path)
    node = files.find(place)
    if node is None:
        raise Refused(f'there is no "/{path}" to copy')
    below = tuple(_below(files, place, "")) if node.kind == "dir" else ()
    apart(below)
    below = tuple((inner, _alone(each)) for inner, each in below)
    return CopySource(path.rpartition("/")[2], _alone(whole(node, place)), below)


def _alone(node: Node) -> Node:
    """The same as a file that has no other name."""
    return node._replace(marks=node.marks.replace(LINKED, "")) if node.marks else node


def _below(files: StageFiles, folder: str, inner: str) -> Iterator[tuple[str, Node]]:
    for name in files.names(folder):
        path = f"{folder}/{name}".lstrip("/")
        node = files.find(path)
        if node is None:
            raise Refused(f'"/{path}" is there and not there')
        relative = f"{inner}/{name}".lstrip("/")
        yield relative, whole(node, path)
        if node.kind == "dir":
            yield from _below(files, path, relative)


# -- archives ----------------------------------------------------------------------------------


_ARCHIVES = (b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"\x28\xb5\x2f\xfd")
_BLOCK = tarfile.BLOCKSIZE
# As much of a file as tells whether it is an archive, in bytes.
HEAD = _BLOCK
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


class ArchiveMember(NamedTuple):
    """``path`` is relative to the destination, "" for the destination itself."""

    path: str
    node: Node


def is_archive(head: bytes) -> bool:
    """Whether ADD would, or just might, unpack a file that starts like this."""
    if head.startswith(_ARCHIVES):
        return True
    if len(head) < HEAD:
        return False
    try:
        tarfile.TarInfo.frombuf(head, "utf-8", "surrogateescape")
    except tarfile.HeaderError:
        return False
    return True


def members_of(data: bytes, *, most: int) -> list[ArchiveMember] | None:
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


def _member(archive: tarfile.TarFile, plain: bytes, member: tarfile.TarInfo) -> ArchiveMember:
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
        return ArchiveMember(
            path, Node("link", 0o777, member.uid, member.gid, link=member.linkname)
        )
    if kind == "dir":
        return ArchiveMember(path, Node("dir", mode, member.uid, member.gid))
    stream = archive.extractfile(member)
    content = stream.read() if stream is not None else b""
    if len(content) != member.size:
        raise Refused(f'ADD unpacks "{name}", which is cut off')
    return ArchiveMember(
        path, Node("file", mode, member.uid, member.gid, len(content), content=content)
    )


def _says_more(headers: Mapping[str, str]) -> bool:
    return any(word in key.lower() for key in headers for word in _HARMFUL)


def unpack(
    files: StageFiles, members: Sequence[ArchiveMember], target: str, owner: Owner | None
) -> None:
    """Put the members below the target, which is made if it is not there.

    Raises:
        Refused: a member comes to lie where it cannot be known what an engine does.

    """
    root = files.resolve(target)
    files.make_folders(root, owner)
    for member in members:
        if member.path:
            _put(files, root, member)


def _put(files: StageFiles, root: str, member: ArchiveMember) -> None:
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


def _imply(files: StageFiles, path: str) -> None:
    """Make a folder that the archive has something in, but no entry for."""
    above = files.find(path.rpartition("/")[0])
    if above is None or above.mode & stat.S_ISGID:
        raise Refused(f'ADD makes the folder "/{path}" in one with the set-group-ID bit')
    files.put(path, Node("dir", 0o755, 0, 0))
