"""Marks in the registry, beside the releases, which of them run somewhere: prune keeps those."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from builder.deploy.records import Deployment, Records
from builder.reference import Reference
from builder.registry.client import Registry
from builder.registry.faults import NotFoundError
from builder.retention import DEPLOYED

# What a tag may be made of, and how long it may be.
_BAD = re.compile(r"[^A-Za-z0-9_.-]")
_LONGEST = 128


def wanted(records: Records, stacks: Iterable[str]) -> dict[str, str]:
    """Mark to release: what runs of each stack, and what a rollback would bring back."""
    found: dict[str, str] = {}
    for stack in stacks:
        current, previous = records.current(stack), records.previous(stack)
        if current is not None:
            found[_tag(stack, current)] = current.release
        if previous is not None:
            found[_tag(stack, previous, "before")] = previous.release
    return found


def put(registry: Registry, releases: Reference, marks: Mapping[str, str]) -> tuple[str, ...]:
    """Set the marks; the releases that the registry no longer has.

    Raises:
        RegistryError: the registry cannot be asked, or does not let us write.

    """
    lost = []
    for mark, release in sorted(marks.items()):
        try:
            registry.retag(releases.with_tag(release), mark)
        except NotFoundError:
            lost.append(release)
    return tuple(sorted(set(lost)))


def _tag(stack: str, deployment: Deployment, *more: str) -> str:
    words = ".".join((deployment.host, stack, *more))
    return _BAD.sub("_", f"{DEPLOYED}{words}")[:_LONGEST]
