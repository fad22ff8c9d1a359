"""Releases of small images in real registries, made by the client and without an engine."""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone

from builder.core.keys import key_tag
from builder.core.reference import Reference
from builder.core.registry_content import OCI_MANIFEST, Content, Manifest
from builder.core.release import Inputs, Release, ReleasedImage
from builder.publish.write import Releases
from builder.registry.client import Registry
from tests.support.images import CONFIGS, LAYERS, Made

OLD = "2020-01-01T00:00:00Z"


def make_dated(layers: Sequence[Content], *, created: str = OLD) -> Made:
    """An image of these layers that was built at a time."""
    config = Content.of(
        json.dumps(
            {
                "architecture": "amd64",
                "os": "linux",
                "created": created,
                "made": secrets.token_hex(4),
            }
        ).encode()
    )
    body = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": _descriptor(config, CONFIGS[OCI_MANIFEST]),
        "layers": [_descriptor(layer, LAYERS[OCI_MANIFEST]) for layer in layers],
    }
    text = json.dumps(body, indent=1).encode()
    return Made(manifest=Manifest.of(text, OCI_MANIFEST), blobs=(config, *layers))


def layer(size: int = 2000) -> Content:
    return Content.of(secrets.token_bytes(size))


def _descriptor(content: Content, kind: str) -> dict[str, object]:
    return {"mediaType": kind, "digest": content.digest, "size": content.size}


def now() -> str:
    return datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


def publish(
    registry: Registry,
    host: str,
    made: Mapping[str, Made],
    *,
    namespace: str = "acme",
    commit: str = "abcdef0",
    tags: tuple[str, ...] = ("latest",),
    created: str = OLD,
    branch: str = "main",
    parents: Mapping[str, tuple[str, ...]] | None = None,
) -> Release:
    """What a run publishes: images under key and release tag, then the release."""
    images = {}
    for name, image in made.items():
        place = Reference(path=f"{namespace}/{name}", registry=host)
        key = hashlib.sha256(image.manifest.digest.encode()).hexdigest()
        for tag in (key_tag(key), f"1.0-{commit}"):
            image.put(registry, place.with_tag(tag))
        images[name] = ReleasedImage(
            name=name,
            path=place.path,
            tag=f"1.0-{commit}",
            digest=image.manifest.digest,
            key=key,
            group="images",
            inputs=Inputs(
                recipe=key[:8],
                bases={"debian:trixie-slim": "sha256:" + "d" * 64},
                parents=(parents or {}).get(name, ()),
            ),
            size=sum(blob.size for blob in image.manifest.layers),
            media_type=OCI_MANIFEST,
        )
    release = Release(
        tag=commit,
        project=namespace,
        namespace=namespace,
        commit=(commit + "0" * 40)[:40],
        created=created,
        branch=branch,
        images=images,
    )
    Releases(registry, host=host, namespace=namespace).write(release, tags=tags)
    return release
