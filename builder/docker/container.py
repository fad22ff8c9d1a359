"""Throw-away containers of an image: one to run a command in, one to read files out of."""

from __future__ import annotations

import io
import tarfile
import threading
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import PurePosixPath

from builder.core.engine.answers import frames
from builder.core.engine.failure import span
from builder.core.engine.statuses import cleaned
from builder.core.errors import BuildError
from builder.core.keys import RUN
from builder.core.text import LineSplitter
from builder.docker import sdk
from builder.docker.client import Client, Watch

SHELL = "/bin/sh"
# A container has to have a command, even one that is never started.
_COMMAND = ["/never-started"]
# More than any list of packages; without a limit an image could fill the memory.
LARGEST = 64 << 20


def run_in_container(
    client: Client,
    image: str,
    command: str,
    *,
    timeout: float | None,
    sink: Callable[[str], None],
    cancel: threading.Event,
    run_id: str,
) -> int:
    """The exit code of ``/bin/sh -c command``, whose lines go to ``sink``.

    Raises:
        BuildError: if it does not end within ``timeout`` seconds.
        InterruptedRunError: once ``cancel`` is set.

    """
    container = client.api.create_container(
        image,
        entrypoint=[SHELL, "-c", command],
        labels={RUN: run_id},
        healthcheck={"test": ["NONE"]},
        # A driver whose logs can be read back, whatever the engine's own default is.
        host_config=client.api.create_host_config(
            network_mode="none", log_config={"type": "json-file"}
        ),
    )["Id"]
    try:
        return _follow(client, container, command, timeout=timeout, sink=sink, cancel=cancel)
    finally:
        _remove(client, container)


def _follow(
    client: Client,
    container: str,
    command: str,
    *,
    timeout: float | None,
    sink: Callable[[str], None],
    cancel: threading.Event,
) -> int:
    doing = f"`{command}`"
    streams = {
        1: LineSplitter(lambda line: sink(cleaned(line))),
        2: LineSplitter(lambda line: sink(cleaned(line))),
    }
    client.api.start(container)
    with Watch(lambda: _kill(client, container), cancel=cancel, timeout=timeout) as watch:
        params = {"follow": 1, "stdout": 1, "stderr": 1}
        with client.stream(f"/containers/{container}/logs", params) as pieces:
            for stream, data in frames(pieces):
                streams[stream](data)
        for lines in streams.values():
            lines.end()
        code: int = client.api.wait(container)["StatusCode"]
    try:
        watch.check(doing)
    except TimeoutError:
        raise BuildError(
            f"{doing} timed out after {span(timeout or 0)}",
            hint="give the image a longer timeout in build.toml if it is known to take that long",
        ) from None
    return code


def _kill(client: Client, container: str) -> None:
    # It may have ended in this very moment.
    with suppress(sdk.REFUSED):
        client.api.kill(container)


def _remove(client: Client, container: str) -> None:
    with suppress(sdk.NOT_FOUND):
        client.api.remove_container(container, force=True, v=True)


def read_files(
    client: Client, image: str, paths: Iterable[str], *, run_id: str
) -> Mapping[str, bytes]:
    """The regular files at and below ``paths``, by absolute path; what is not there is left out.

    Raises:
        BuildError: if they are larger than such files can be.

    """
    container = client.api.create_container(
        image,
        entrypoint=_COMMAND,
        labels={RUN: run_id},
        host_config=client.api.create_host_config(network_mode="none"),
    )["Id"]
    found: dict[str, bytes] = {}
    try:
        for path in paths:
            with suppress(sdk.NOT_FOUND):
                stream, _ = client.api.get_archive(container, path)
                found.update(_unpacked(stream, PurePosixPath(path).parent, image))
    finally:
        _remove(client, container)
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
