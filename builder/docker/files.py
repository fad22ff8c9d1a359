"""Reads files of an image out of an engine: nothing of the image is run for it."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from builder.core.errors import BuildError
from builder.core.labels import RUN

if TYPE_CHECKING:
    from docker import APIClient

# A container has to have a command, even one that is never started.
_COMMAND = ["/never-started"]
# More than any list of packages; without a limit an image could fill the memory.
LARGEST = 64 << 20


def read_files(
    api: APIClient, image: str, paths: Iterable[str], *, run_id: str
) -> Mapping[str, bytes]:
    """The regular files at and below ``paths``, by absolute path; what is not there is left out.

    Raises:
        BuildError: if they are larger than such files can be.

    """
    from docker.errors import NotFound  # noqa: PLC0415

    container = api.create_container(
        image,
        entrypoint=_COMMAND,
        labels={RUN: run_id},
        host_config=api.create_host_config(network_mode="none"),
    )["Id"]
    found: dict[str, bytes] = {}
    try:
        for path in paths:
            with suppress(NotFound):
                stream, _ = api.get_archive(container, path)
                found.update(_unpacked(stream, PurePosixPath(path).parent, image))
    finally:
        with suppress(NotFound):
            api.remove_container(container, force=True, v=True)
    return found


def _unpacked(stream: Iterable[bytes], parent: PurePosixPath, image: str) -> Mapping[str, bytes]:
    """The engine names the members by where they lie below the folder of what was asked for."""
    archive = io.BytesIO()
    for chunk in stream:
        archive.write(chunk)
        if archive.tell() > LARGEST:
            raise BuildError(f"cannot read {parent} of {image}: it has more than {LARGEST} bytes")
    archive.seek(0)
    with tarfile.open(fileobj=archive) as tar:
        return {
            str(parent / member.name): content.read()
            for member in tar
            if member.isreg() and (content := tar.extractfile(member)) is not None
        }
