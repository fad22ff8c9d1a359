"""Gives an error the place where it belongs, once."""

from __future__ import annotations

from builder.core.dockerfile.text import printable
from builder.core.errors import DockerfileError, Location


def placed(error: DockerfileError, where: Location) -> DockerfileError:
    """The error at ``where``, unless it has a more exact place already."""
    if error.where is not None:
        return error
    return DockerfileError(printable(error.message), where=where, hint=error.hint)
