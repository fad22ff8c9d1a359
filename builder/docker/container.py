"""Runs one command in a throw-away container of an image."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING

from builder.core.engine.answers import frames
from builder.core.engine.failure import span
from builder.core.engine.solve import cleaned
from builder.core.errors import BuildError
from builder.core.labels import RUN
from builder.core.text import LineSplitter
from builder.docker.streams import Watch

if TYPE_CHECKING:
    from docker import APIClient

SHELL = "/bin/sh"
_CONNECT_SECONDS = 60


def run_in_container(
    api: APIClient,
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
    from docker.types import LogConfig  # noqa: PLC0415

    container = api.create_container(
        image,
        entrypoint=[SHELL, "-c", command],
        labels={RUN: run_id},
        healthcheck={"test": ["NONE"]},
        # A driver whose logs can be read back, whatever the engine's own default is.
        host_config=api.create_host_config(
            network_mode="none", log_config=LogConfig(type="json-file")
        ),
    )["Id"]
    try:
        return _follow(api, container, command, timeout=timeout, sink=sink, cancel=cancel)
    finally:
        _remove(api, container)


def _follow(
    api: APIClient,
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
    api.start(container)
    with Watch(lambda: _kill(api, container), cancel=cancel, timeout=timeout) as watch:
        with api.get(
            f"{api.base_url}/v{api.api_version}/containers/{container}/logs",
            params={"follow": 1, "stdout": 1, "stderr": 1},
            stream=True,
            timeout=(_CONNECT_SECONDS, None),
        ) as response:
            for stream, data in frames(response.iter_content(chunk_size=None)):
                streams[stream](data)
        for lines in streams.values():
            lines.end()
        code: int = api.wait(container)["StatusCode"]
    try:
        watch.check(doing)
    except TimeoutError:
        raise BuildError(
            f"{doing} timed out after {span(timeout or 0)}",
            hint="give the image a longer timeout in build.toml if it is known to take that long",
        ) from None
    return code


def _kill(api: APIClient, container: str) -> None:
    from docker.errors import APIError  # noqa: PLC0415

    # It may have ended in this very moment.
    with suppress(APIError):
        api.kill(container)


def _remove(api: APIClient, container: str) -> None:
    from docker.errors import NotFound  # noqa: PLC0415

    with suppress(NotFound):
        api.remove_container(container, force=True, v=True)
