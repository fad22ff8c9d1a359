"""The OCI labels that ocbuild adds to every image, so that an image says where it comes from.

They are given to the engine beside the Dockerfile, so they change the image's configuration and
none of its layers: a child's layer cache does not notice them.
"""

from __future__ import annotations

from datetime import datetime

KEY = "ocbuild.key"
RUN = "ocbuild.run"
_OCI = "org.opencontainers.image."
BASE_DIGEST = f"{_OCI}base.digest"


def oci_labels(
    *,
    title: str,
    key: str,
    version: str = "",
    revision: str = "",
    source: str = "",
    created: datetime | None = None,
    base_name: str = "",
    base_digest: str = "",
) -> dict[str, str]:
    """Labels of the OCI image specification (annotations.md), empty ones set to "".

    All of them are always there: one that were left out would be inherited from the parent and
    speak of the wrong image. ``created`` is the commit's time, not the clock's, so that a commit
    gives the same image twice.
    """
    return {
        f"{_OCI}title": title,
        f"{_OCI}version": version,
        f"{_OCI}revision": revision,
        f"{_OCI}source": source,
        f"{_OCI}created": created.strftime("%Y-%m-%dT%H:%M:%SZ") if created else "",
        f"{_OCI}base.name": base_name,
        BASE_DIGEST: base_digest,
        KEY: key,
    }
