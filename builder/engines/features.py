"""Says in words which feature of a Dockerfile an engine lacks, and on which line it is."""

from __future__ import annotations

from collections.abc import Iterable

from builder.core.dockerfile.model import FEATURES
from builder.engines import BuildRequest
from builder.engines.place import line_of_feature, read_dockerfile
from builder.engines.redirect import image_of


def lacking(
    request: BuildRequest, lacks: Iterable[str], *, every_stage: bool = False
) -> str | None:
    """A sentence about the first feature in use that the engine lacks; None if it lacks none.

    ``every_stage`` is for an engine that builds stages which the target does not need.
    """
    dockerfile = read_dockerfile(request.dockerfile, request.dockerfile_label)
    for feature in sorted(lacks):
        line = line_of_feature(feature, dockerfile) if dockerfile else None
        if feature in request.features or (every_stage and line is not None):
            place = f"line {line}" if line else "it"
            return f"{place} needs {FEATURES[feature]}, which this engine lacks"
    return None


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
