"""Small images for registries: content that is different each time, and their manifests."""

from __future__ import annotations

import json
import secrets
from pathlib import Path

from msgspec import Struct

from builder.core.reference import Reference
from builder.core.registry_content import (
    DOCKER_LIST,
    DOCKER_MANIFEST,
    OCI_INDEX,
    OCI_MANIFEST,
    Content,
    Manifest,
    digest_of,
)
from builder.registry.client import Registry

CONFIGS = {
    OCI_MANIFEST: "application/vnd.oci.image.config.v1+json",
    DOCKER_MANIFEST: "application/vnd.docker.container.image.v1+json",
}
LAYERS = {
    OCI_MANIFEST: "application/vnd.oci.image.layer.v1.tar",
    DOCKER_MANIFEST: "application/vnd.docker.image.rootfs.diff.tar",
}


class Made(Struct, frozen=True, kw_only=True):
    """A manifest and the blobs that it names."""

    manifest: Manifest
    blobs: tuple[Content, ...]

    def put(self, registry: Registry, reference: Reference) -> None:
        for blob in self.blobs:
            registry.blobs.put(reference, blob)
        registry.put(reference, self.manifest)


def content_of(path: Path) -> Content:
    """A file, which is read anew for each upload."""
    data = path.read_bytes()
    return Content(digest=digest_of(data), size=len(data), open=lambda: path.open("rb"))


def make_image(kind: str = OCI_MANIFEST, *, layers: int = 2, size: int = 1000) -> Made:
    """An image of random layers, of the kind OCI_MANIFEST or DOCKER_MANIFEST."""
    config = Content.of(
        json.dumps({"architecture": "amd64", "os": "linux", "made": secrets.token_hex(8)}).encode()
    )
    contents = [Content.of(secrets.token_bytes(size)) for _ in range(layers)]
    body = {
        "schemaVersion": 2,
        "mediaType": kind,
        "config": _descriptor(config, CONFIGS[kind]),
        "layers": [_descriptor(content, LAYERS[kind]) for content in contents],
    }
    # Bytes that no serialiser would make by itself: they must stay as they are.
    text = json.dumps(body, indent=3).encode() + b"\n"
    return Made(manifest=Manifest.of(text, kind), blobs=(config, *contents))


def make_index(images: list[Made], kind: str = OCI_INDEX) -> Made:
    """An index of the kind OCI_INDEX or DOCKER_LIST; its blobs are those of the images."""
    assert kind in (OCI_INDEX, DOCKER_LIST)
    body = {
        "schemaVersion": 2,
        "mediaType": kind,
        "manifests": [
            {
                "mediaType": image.manifest.media_type,
                "digest": image.manifest.digest,
                "size": len(image.manifest.body),
                "platform": {"os": "linux", "architecture": "arm", "variant": f"v{number}"},
            }
            for number, image in enumerate(images)
        ],
    }
    blobs = tuple(blob for image in images for blob in image.blobs)
    return Made(manifest=Manifest.of(json.dumps(body).encode(), kind), blobs=blobs)


def _descriptor(content: Content, kind: str) -> dict[str, object]:
    return {"mediaType": kind, "digest": content.digest, "size": content.size}
