"""File trees of images for tests: layers laid on each other, and what an engine exports."""

from __future__ import annotations

import hashlib
import io
import json
import subprocess
import tarfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, NamedTuple

WHITEOUT = ".wh."
OPAQUE = ".wh..wh..opq"
_KINDS = {
    tarfile.REGTYPE: "file",
    tarfile.AREGTYPE: "file",
    tarfile.DIRTYPE: "dir",
    tarfile.SYMTYPE: "link",
    tarfile.CHRTYPE: "device",
    tarfile.BLKTYPE: "device",
    tarfile.FIFOTYPE: "pipe",
}


class Thing(NamedTuple):
    """What is at one path; ``content`` is a digest, ``capability`` the value of the attribute.

    ``same`` is another path of the same file.
    """

    kind: str
    mode: int
    uid: int
    gid: int
    size: int = 0
    content: str = ""
    link: str = ""
    capability: str = ""
    same: str = ""


Tree = dict[str, Thing]


class Saved(NamedTuple):
    """An image as ``docker save`` gives it."""

    config: Mapping[str, Any]
    tree: Tree


def lay(tree: Tree, layer: IO[bytes]) -> Tree:
    """The tree with a layer on top; the layer has to name each folder that it goes through."""
    found = dict(tree)
    own: set[str] = set()
    with tarfile.open(fileobj=layer, mode="r|*", errors="surrogateescape") as archive:
        for member in archive:
            path = member.name.strip("/").removeprefix("./")
            folder, _, name = path.rpartition("/")
            if name == OPAQUE:
                _remove(found, folder, own, keep_itself=True)
            elif name.startswith(WHITEOUT):
                _remove(found, f"{folder}/{name[len(WHITEOUT) :]}".lstrip("/"), own)
            elif member.islnk():
                first = member.linkname.strip("/").removeprefix("./")
                found[path] = found[first]._replace(same=first)
                own.add(path)
            else:
                if path in found and found[path].kind == "dir" and not member.isdir():
                    _remove(found, path, own)
                found[path] = _thing(archive, member)
                own.add(path)
    for path in own:
        folder = path.rpartition("/")[0]
        assert not folder or found[folder].kind == "dir", f"{path}: {folder} is no folder"
    found.pop("", None)
    found.pop(".", None)
    return found


def saved(references: Sequence[str], folder: Path) -> dict[str, Saved]:
    """Images of the engine, by reference."""
    inspect = ["docker", "image", "inspect", *references]
    seen = json.loads(subprocess.run(inspect, check=True, capture_output=True).stdout)
    empty = [reference for reference, image in zip(references, seen, strict=True) if _bare(image)]
    found = {
        reference: Saved(
            {
                "architecture": image["Architecture"],
                "os": image["Os"],
                "author": image["Author"],
                "config": image["Config"],
            },
            {},
        )
        for reference, image in zip(references, seen, strict=True)
        if _bare(image)
    }
    references = [reference for reference in references if reference not in empty]
    if not references:
        return found
    target = folder / "saved.tar"
    subprocess.run(["docker", "save", "--output", str(target), *references], check=True)
    trees: dict[tuple[str, ...], Tree] = {(): {}}
    with tarfile.open(target) as archive:

        def tree_of(layers: tuple[str, ...]) -> Tree:
            if layers not in trees:
                data = archive.extractfile(layers[-1])
                assert data is not None
                trees[layers] = lay(tree_of(layers[:-1]), data)
            return trees[layers]

        for image in _json(archive, "manifest.json"):
            config = _json(archive, image["Config"])
            for tag in image["RepoTags"] or ():
                found[tag] = Saved(config, tree_of(tuple(image["Layers"])))
    target.unlink()
    return found


class Top(NamedTuple):
    """The config of an image, the layers that it shares, and the tree of those above them."""

    config: Mapping[str, Any]
    below: Sequence[str]
    tree: Tree


def top_layers(references: Sequence[str], *, largest: int = 1 << 20) -> dict[str, Top]:
    """Images of the engine by what lies above the large layers; those are told by their name."""
    small: dict[str, bytes] = {}
    with (
        subprocess.Popen(["docker", "save", *references], stdout=subprocess.PIPE) as save,
        tarfile.open(fileobj=save.stdout, mode="r|") as archive,
    ):
        for member in archive:
            data = archive.extractfile(member) if member.size <= largest else None
            if data is not None:
                small[member.name] = data.read()
    found: dict[str, Top] = {}
    for image in json.loads(small["manifest.json"]):
        config = json.loads(small[image["Config"]])
        layers = list(image["Layers"])
        start = next((n for n in range(len(layers), 0, -1) if layers[n - 1] not in small), 0)
        tree: Tree = {}
        for layer in layers[start:]:
            tree = lay(tree, io.BytesIO(small[layer]))
        for tag in image["RepoTags"] or ():
            found[tag] = Top(config, config["rootfs"]["diff_ids"][:start], tree)
    return found


def _bare(image: Mapping[str, Any]) -> bool:
    """Whether an image has no layers: the engine does not save such a one."""
    return not image["RootFS"].get("Layers")


def exported(reference: str) -> Tree:
    """What a container of an image would see, as the engine's own storage puts it together."""
    create = ["docker", "create", reference, "x"]
    name = subprocess.run(create, check=True, capture_output=True, text=True).stdout.strip()
    try:
        with subprocess.Popen(["docker", "export", name], stdout=subprocess.PIPE) as export:
            assert export.stdout is not None
            return lay({}, export.stdout)
    finally:
        subprocess.run(["docker", "rm", name], check=True, capture_output=True)


def differences(ours: Tree, theirs: Tree) -> list[str]:
    paths = sorted(ours.keys() | theirs.keys())
    return [
        f"{path}: ours {ours.get(path)}, theirs {theirs.get(path)}"
        for path in paths
        if ours.get(path) != theirs.get(path)
    ]


def comparable(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """A config without times, the history's text, and what depends on the bytes of layers."""
    left_out = ("created", "history", "rootfs", "container", "docker_version", "container_config")
    found = {key: value for key, value in config.items() if key not in left_out}
    return _without_nothing(found)


def _without_nothing(value: Mapping[str, Any]) -> dict[str, Any]:
    """Neither null nor empty: Go's encoders differ in whether they write them."""
    found: dict[str, Any] = {}
    for key, each in value.items():
        kept = _without_nothing(each) if isinstance(each, dict) and key == "config" else each
        if kept not in (None, "", [], {}, False, 0):
            found[key] = kept
    return found


def _thing(archive: tarfile.TarFile, member: tarfile.TarInfo) -> Thing:
    kind = _KINDS[member.type]
    data = archive.extractfile(member) if kind == "file" else None
    content = hashlib.sha256(data.read()).hexdigest() if data is not None else ""
    return Thing(
        kind,
        0o777 if kind == "link" else member.mode & 0o7777,
        member.uid,
        member.gid,
        member.size if kind == "file" else 0,
        content,
        member.linkname if kind == "link" else "",
        member.pax_headers.get("SCHILY.xattr.security.capability", ""),
    )


def _remove(tree: Tree, path: str, own: Iterable[str], *, keep_itself: bool = False) -> None:
    kept = set(own)
    for other in list(tree):
        if other in kept:
            continue
        if other.startswith(f"{path}/") or (other == path and not keep_itself):
            del tree[other]


def _json(archive: tarfile.TarFile, name: str) -> Any:
    data = archive.extractfile(name)
    assert data is not None
    return json.load(data)
