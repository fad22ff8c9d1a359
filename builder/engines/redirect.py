"""What a name in a Dockerfile shall mean: the names as engines compare them, and what they mean."""

from __future__ import annotations

from builder.core.reference import HUB, BadReferenceError, Reference

IMAGE_SCHEME = "docker-image://"


def familiar(name: str) -> str:
    """A name as BuildKit looks it up among the named contexts.

    ``docker.io/library/debian:latest`` and ``debian`` are one; what is no image reference (the
    name of a stage) stays as it is.
    """
    try:
        reference = Reference.parse(Reference.parse(name).canonical)
    except BadReferenceError:
        return name
    text = str(reference)
    if reference.registry == HUB:
        text = text.removeprefix(f"{HUB}/").removeprefix("library/")
    return text if reference.digest else text.removesuffix(":latest")


def context_value(value: str) -> str:
    """The value as buildx wants it: an image reference gets its scheme; all else has one."""
    if "://" in value or value.startswith(("/", "./", "../", "target:")):
        return value
    return IMAGE_SCHEME + value


def image_of(value: str) -> str | None:
    """The image reference that a name is redirected to; None where it is a folder or an address."""
    value = context_value(value)
    return value.removeprefix(IMAGE_SCHEME) if value.startswith(IMAGE_SCHEME) else None
