"""What the two engines that use POST /build have in common: the request and the result."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable

from builder.core.bases import image_of
from builder.core.engine.failure import BuildFailedError, refused, timed_out
from builder.core.engine.invocation import build_parameters, config_proxies
from builder.core.engine.messages import Message
from builder.core.errors import BuildError, Location
from builder.docker.daemon import Daemon
from builder.engines import BuildRequest, BuildResult
from builder.engines.archive import dockerfile_name, packed
from builder.engines.borrowed import BorrowedNames


def post(
    daemon: Daemon,
    names: BorrowedNames,
    request: BuildRequest,
    *,
    version: str,
    always: Iterable[str],
    cancel: threading.Event,
    on_message: Callable[[Message], None],
) -> None:
    """Send the context and hand on every message of the builder.

    Raises:
        BuildFailedError: if the engine takes none of it, e.g. for a Dockerfile that it cannot
            parse, or is not done in time.
        InterruptedRunError: once ``cancel`` is set.

    """
    label = request.dockerfile_label
    params = build_parameters(
        request,
        version=version,
        dockerfile=dockerfile_name(request),
        proxies=config_proxies(daemon.docker_config, daemon.endpoint.url),
    )
    with names.held(request.contexts), packed(request, cancel, always=always) as archive:
        try:
            with daemon.build(params, archive, cancel=cancel, timeout=request.timeout) as received:
                for message in received:
                    on_message(message)
        except TimeoutError:
            raise timed_out(request.timeout or 0, label=label) from None
        except BuildFailedError:
            raise
        except BuildError as error:
            raise refused(error, label) from error


def result(
    daemon: Daemon, request: BuildRequest, image_id: str | None, *, cached: bool
) -> BuildResult:
    """The image that was made."""
    image = daemon.inspect(image_id) if image_id else None
    if image is None:
        raise BuildFailedError(
            "the engine broke off without an image and without an error",
            where=Location(request.dockerfile_label),
            transient=True,
        )
    return BuildResult(image_id=image.id, size=image.size, cached=cached)


def awkward(request: BuildRequest) -> str | None:
    """What neither way of POST /build can do, whatever the builder behind it."""
    if request.platform and "," in request.platform:
        return f"it makes images for one platform at a time, not for {request.platform}"
    for name, value in sorted(request.contexts.items()):
        if image_of(value) is None:
            return f'it cannot take "{name}" from {value}: only images can stand for images'
    if not request.dockerfile.resolve().is_relative_to(request.context.resolve()):
        return "the Dockerfile lies outside its build context"
    return None
