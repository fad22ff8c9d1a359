"""The name that an engine has for the substitute of a base that was made from packages."""

from __future__ import annotations

import re

from builder.core.errors import InputError
from builder.core.reference import HUB, Reference

NAMESPACE = "ocbuild-bootstrap"


def bootstrap_reference(base: Reference) -> Reference:
    """The name under which the engine keeps the substitute; it never shadows the original's.

    Raises:
        InputError: for a base that is pinned by digest; no substitute has that digest.

    """
    if base.digest:
        raise InputError(
            f'"{base}" is pinned by digest and cannot be put together from packages',
            hint="name the base by tag, or take it from a mirror",
        )
    full = Reference.parse(base.canonical)
    if full.registry == HUB:
        path = full.path.removeprefix("library/")
    else:
        path = f"{re.sub('[^a-z0-9.]+', '-', full.registry.lower()).strip('-')}/{full.path}"
    return Reference(path=f"{NAMESPACE}/{path.replace('/', '-')}", tag=full.tag)
