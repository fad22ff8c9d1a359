"""The registry: does it answer, does it know us, and may we write to it."""

from __future__ import annotations

from collections.abc import Iterator

from builder.core.errors import OcbuildError
from builder.core.reference import Reference
from builder.core.release import NAME
from builder.doctor.finding import Finding, of_error, ok, warning
from builder.registry.client import Registry
from builder.registry.faults import RegistryError, UnreachableError


def registry(
    client: Registry, host: str, namespace: str | None, *, scheme: str, embedded: bool
) -> Iterator[Finding]:
    """``embedded``: it is the one that ocbuild starts by itself; no namespace, nothing to write."""
    try:
        client.check(host)
    except UnreachableError as error:
        if not embedded:
            yield of_error("registry", error)
        else:
            yield warning(
                "registry",
                f"no registry runs at {host}",
                "none, for a run with --push starts it; or: ocbuild registry start",
            )
        return
    except OcbuildError as error:
        yield of_error("registry", error)
        return
    yield ok("registry", f"{host} answers, by {scheme}, and accepts our login if it wants one")
    if namespace is None:
        return
    place = Reference(path=f"{namespace}/{NAME}", registry=host)
    try:
        client.blobs.try_to_write(place)
    except RegistryError as error:
        yield of_error("registry", error)
        return
    yield ok("registry", f"we may write to {host}/{namespace}")
