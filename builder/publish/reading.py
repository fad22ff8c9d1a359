"""From the files of an image to its inventory."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from urllib.parse import urlsplit, urlunsplit

from msgspec.structs import replace

from builder.core.packages.inventory import Inventory, Source, installed
from builder.engines.bootstrap.apt_sources import AptSource, parse_deb822, parse_one_line

STATUS = "/var/lib/dpkg/status"
# Where an image without dpkg itself ("distroless") says what it was put together from.
STATUS_FOLDER = "/var/lib/dpkg/status.d"
APT = "/etc/apt"
PATHS = (STATUS, STATUS_FOLDER, APT)
"""All that has to be read of an image."""


def inventory_of(files: Mapping[str, bytes]) -> Inventory:
    """What the image with these files has, and where its apt would look for more."""
    status = [
        content.decode("utf-8", "replace")
        for path, content in sorted(files.items())
        if path == STATUS or _is_status_file(path)
    ]
    inventory = Inventory(
        dpkg=bool(status),
        packages=installed("\n\n".join(status)),
        pinned=any(
            content.strip()
            for path, content in files.items()
            if path == f"{APT}/preferences" or path.startswith(f"{APT}/preferences.d/")
        ),
    )
    architecture = inventory.architecture
    sources = {
        replace(source, suite=source.suite.replace("$(ARCH)", architecture))
        for found in _apt_sources(files)
        for source in _each(found)
    }
    return replace(inventory, sources=tuple(sorted(sources)))


def _is_status_file(path: str) -> bool:
    return path.startswith(f"{STATUS_FOLDER}/") and not path.endswith(".md5sums")


def _apt_sources(files: Mapping[str, bytes]) -> Iterator[AptSource]:
    for path, content in sorted(files.items()):
        text = content.decode("utf-8", "replace")
        folder, _, name = path.rpartition("/")
        in_parts = folder == f"{APT}/sources.list.d"
        if path == f"{APT}/sources.list" or (in_parts and name.endswith(".list")):
            yield from parse_one_line(text)
        elif in_parts and name.endswith(".sources"):
            yield from parse_deb822(text)


def _each(found: AptSource) -> Iterable[Source]:
    """An entry of apt may name several of everything."""
    return (
        Source(uri=_public(uri), suite=suite, component=component, trusted=found.trusted)
        for uri in found.uris
        for suite in found.suites
        for component in found.components or ("",)
    )


def _public(uri: str) -> str:
    """Without name and password, and without the slash that changes nothing."""
    parts = urlsplit(uri)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2])).rstrip("/")
