"""OCI artifacts: a manifest around one small content that is no image."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING

from builder.registry.content import OCI_MANIFEST, Content, Descriptor, Manifest
from builder.registry.faults import BlobsMissingError

if TYPE_CHECKING:
    from builder.core.reference import Reference
    from builder.registry.client import Registry

# What an artifact without a configuration has for one, by the OCI image specification.
EMPTY = b"{}"
EMPTY_TYPE = "application/vnd.oci.empty.v1+json"


def artifact(
    kind: str,
    data: bytes,
    annotations: Mapping[str, str],
    *,
    media_type: str = "",
    subject: Descriptor | None = None,
) -> tuple[Manifest, tuple[Content, ...]]:
    """The manifest of an artifact of this kind, and the blobs that must be there before it.

    ``media_type`` is that of the data, by default the artifact's own. ``subject`` is the manifest
    that it is attached to.
    """
    empty, layer = Content.of(EMPTY), Content.of(data)
    document: dict[str, object] = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "artifactType": kind,
        "config": {"mediaType": EMPTY_TYPE, "digest": empty.digest, "size": empty.size},
        "layers": [{"mediaType": media_type or kind, "digest": layer.digest, "size": layer.size}],
    }
    if subject is not None:
        document["subject"] = {
            "mediaType": subject.media_type,
            "digest": subject.digest,
            "size": subject.size,
        }
    document["annotations"] = dict(annotations)
    body = json.dumps(document, indent=2).encode()
    return Manifest.of(body, OCI_MANIFEST), (empty, layer)


def put(registry: Registry, reference: Reference, manifest: Manifest, empty: Content) -> None:
    """Have an artifact under a name; its empty config is brought only where nobody has before.

    Raises:
        RegistryError: it cannot be stored.

    """
    try:
        registry.put(reference, manifest)
    except BlobsMissingError:
        registry.blobs.put(reference, empty)
        registry.put(reference, manifest)


def is_artifact(manifest: Manifest, kind: str) -> bool:
    """Whether it is of this kind and as ``artifact`` makes them: one layer, which is the data."""
    return manifest.artifact_type == kind and len(manifest.layers) == 1
