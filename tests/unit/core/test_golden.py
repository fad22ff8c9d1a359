"""Golden values: keys of images, and the bytes that the assembler makes, are those of releases.

A release that was published by an older version has to be reused, so none of these may change. A
change here is a change of ``keys.SCHEMA``, and has to be announced in CHANGELOG.md.
"""

from __future__ import annotations

import gzip
import hashlib
from collections.abc import Mapping
from pathlib import Path

import pytest

from builder.core.packages.inventory import Inventory, Package, PackageSource
from tests.support.tree import Tree
from tests.unit.core import test_assembler_image as assembler
from tests.unit.core.test_keys import keys

SCRIPT = '#!/bin/sh\nexec "$@"\n'
TREES: Mapping[str, Mapping[str, str | Mapping[str, str]]] = {
    "layers": {
        "base": {
            "Dockerfile": (
                "FROM debian:12\nARG FLAVOUR=plain\nCOPY run lib /srv/\nRUN make $FLAVOUR"
            ),
            "run": "#!/bin/sh\n",
            "lib/a": "a",
            "lib/b/c": "c",
            ".dockerignore": "lib/b\n",
        },
        "app": "FROM base\nLABEL a=b",
        "tool": "FROM scratch\nCOPY --from=debian:12 /etc/debian_version /",
    },
    "words": {
        "stages": (
            '# escape=`\nARG V=12\nFROM debian:${V} AS build\nSHELL ["/bin/bash", "-c"]\n'
            "RUN a && `\n  b\nFROM debian:12\nCOPY --from=build --chown=1:2 /a* /b/\n"
            "HEALTHCHECK --interval=3s CMD true\nONBUILD RUN echo $V\n"
        ),
        "heredoc": (
            "FROM debian:12\nRUN <<EOF\necho \"ünïcode\"\nEOF\nCOPY <<'A' <<B /srv/\n$a\nA\n$b\nB\n"
        ),
        "mounts": (
            "FROM debian:12\nRUN --mount=type=cache,target=/x"
            " --mount=type=bind,source=f,target=/y f\n"
            "ADD --chmod=644 f /z\n"
        ),
    },
}
KEYS = {
    "layers": {
        "app": "3e560f4b3099a064dcbd0b666c655b529552113040b283d41c19f076543fb11a",
        "base": "954e673ef9f1db075e46ef3ac69219d040ff7830eb61e609e723c9ef9d253eb3",
        "tool": "9cf674cbe2342c14cee94177b5465b8f7c888445816fa2deb65a9f8c6ffe0dc8",
    },
    "words": {
        "heredoc": "e0f56c24a1e9f4753e4b45fbdc21de8ff5666f7e5300697225e60381a01e0ed1",
        "mounts": "ea7d6d1936a61e4b6c3ef2059f46b8df5d0ce9f352ab16d01f6c93d8f5d05b8e",
        # Another one since directives count; all others are as old as keys are.
        "stages": "5de66a54c87787abbc112722be417f09c28cffef7f0a7a07e49ad7ad90507ba0",
    },
}


@pytest.mark.parametrize("name", TREES)
def test_keys_of_images_stay(tmp_path: Path, name: str) -> None:
    tree = Tree(tmp_path, TREES[name])
    if name == "words":
        tree.write("images/mounts/f", SCRIPT)
    for path in (tmp_path / "images").rglob("*"):
        path.chmod(0o755 if path.is_dir() else 0o644)
    assert keys(tree) == KEYS[name]


DOCKERFILES = {
    "config": (
        'FROM base\nENV A=2 B="x y"\nARG GIVEN\nLABEL l="ünï" m=$GIVEN\nEXPOSE 80 90-92/udp\n'
        'USER 7:8\nVOLUME /v\nWORKDIR /w/x\nENTRYPOINT ["e"]\nCMD c $A\nSTOPSIGNAL TERM\n'
        'HEALTHCHECK --interval=1m30s --retries=2 CMD t\nSHELL ["/s"]\nONBUILD COPY a b\n'
        "MAINTAINER me\n"
    ),
    "files": (
        "FROM base AS one\nCOPY --chown=7 --chmod=600 f /etc/g\nCOPY <<T /h/i/\ntext $A\nT\n"
        "FROM base\nCOPY --from=one /h /j\nCOPY --from=one /etc/issue /tmp/\nWORKDIR /tmp/w\n"
    ),
    "scratch": 'FROM scratch\nCOPY f /\nCMD ["/f"]\n',
}
# By Dockerfile the start of the SHA-256 of config, layer and index.
IMAGES = {
    "config": ("52414ae9d2e3672c", "1c25897349ad6d9f", "575236a1633859e6"),
    "files": ("6d88172aaf1900bc", "35f71d8c8f120e3b", "f853740aa6f5593e"),
    "scratch": ("b2f3e3a3e0a6c79a", "c5bc989458c566d4", "c812594bf6449ab0"),
}


@pytest.mark.parametrize("name", DOCKERFILES)
def test_bytes_of_assembled_images_stay(name: str) -> None:
    """The layer before compression: the bytes after it depend on the zlib of this Python."""
    assembled = assembler.make(
        DOCKERFILES[name], labels={"ocbuild.key": "0" * 64}, media_type=assembler.OCI, created=86400
    )
    layer = assembled.layer
    plain = b"" if layer is None else gzip.decompress(layer.data)
    parts = (assembled.config, plain, layer.index.dump().encode() if layer else b"")
    assert tuple(hashlib.sha256(part).hexdigest()[:16] for part in parts) == IMAGES[name]


def test_the_manifest_of_an_assembled_image_stays() -> None:
    assembled = assembler.make("FROM base\nUSER 1\n", media_type=assembler.DOCKER)
    assert assembled.manifest == MANIFEST


MANIFEST = (
    b'{"schemaVersion": 2, "mediaType": "application/vnd.docker.distribution.manifest.v2+json", '
    b'"config": {"mediaType": "application/vnd.docker.container.image.v1+json", "digest": '
    b'"sha256:2e5678a5de6ae5d31c77705a281b2541401bab0289631ff167a73db17bc764b3", "size": 369}, '
    b'"layers": [{"digest": "sha256:blob", "size": 1}]}'
)


def test_the_bytes_of_an_inventory_stay() -> None:
    package = Package(
        name="libc6", version="2.41-12", architecture="amd64", source="glibc", source_version="ü"
    )
    source = PackageSource(uri="https://example.org/debian", suite="trixie", component="main")
    inventory = Inventory(dpkg=True, packages=(package,), sources=(source,))
    assert inventory.as_bytes() == (
        b'{"schema": 1, "dpkg": true, "pinned": false, "sources": [["https://example.org/debian", '
        b'"trixie", "main", false]], "packages": [["libc6", "2.41-12", "amd64", "glibc", '
        b'"\\u00fc"]]}\n'
    )
