"""Frees the disk of the embedded registry: what no manifest needs any more is removed."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from builder.core.errors import PublishError
from builder.registry.embedded import EmbeddedRegistry, Kind, without_overrides
from builder.system.process import run

# A registry of some hundred gigabytes reads all of its manifests.
_SECONDS = 3600.0


def obstacle(embedded: EmbeddedRegistry) -> str:
    """Why no garbage collection is possible here; "" if it is."""
    kind = embedded.status().kind
    if kind is Kind.PROCESS:
        return "" if shutil.which(embedded.program) else f"{embedded.program} is not installed"
    if kind is Kind.CONTAINER:
        return f"it runs in the container {embedded.container}"
    if kind is Kind.FOREIGN:
        return "it is not ours, so its owner has to"
    return "it does not run"


def collect(embedded: EmbeddedRegistry) -> int:
    """Stop the registry, collect, start it again; the bytes of disk that are free now.

    Manifests without a tag are left: parts of indexes have none. A collection while somebody
    pushes would take blobs whose manifest is still to come, so the registry is stopped, and whoever
    pushes sees it.

    Raises:
        PublishError: it is not ours to stop, or the collection fails; it runs again in any case.

    """
    why = obstacle(embedded)
    if why:
        raise PublishError(f"the disk of {embedded.address} cannot be freed: {why}")
    before = _usage(embedded.data)
    with embedded.stopped() as config:
        argv = [embedded.program, "garbage-collect", str(config), "--delete-untagged=false"]
        done = run(argv, timeout=_SECONDS, env=without_overrides(os.environ))
        if done.returncode != 0:
            raise PublishError(
                f"the garbage collection of {embedded.address} failed: {done.complaint(lines=3)}"
            )
    return max(0, before - _usage(embedded.data))


def _usage(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
