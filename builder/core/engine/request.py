"""The request for an image, and the result."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from msgspec import Struct, field

from builder.core.context import ReadContext
from builder.core.dockerfile.model import Dockerfile


class SecretSource(Struct, frozen=True, kw_only=True):
    """Where a build secret comes from: a file or an environment variable, never a value."""

    file: Path | None = None
    env: str | None = None


class BuildRequest(Struct, frozen=True, kw_only=True):
    """One image to be built.

    ``dockerfile_label`` is how messages name the Dockerfile. ``contexts`` maps a name as the
    Dockerfile writes it (FROM, COPY --from, RUN --mount=from=) to an image reference that the
    engine can resolve, or to a URL with a scheme that buildx knows (docker-image://, a folder …).
    ``tags`` are full references that the result gets in the engine. ``features`` are the keys of
    ``FEATURES`` in core.dockerfile.model that the Dockerfile needs. ``timeout`` in seconds.
    ``in_engine`` is False where nobody will ask the Docker Engine for the image: one that needs no
    engine to make it may then keep it to itself until it is stored. ``published``: the registry of
    the tags has the image by the end of the run, so it may be put there before, by digest alone.
    ``in_process``: no engine is needed, as far as the plan could see; only then it is tried without
    one. ``base`` is the in-tree image that the target stage starts from, "" for none.
    ``parsed`` is the Dockerfile and ``read`` the context as the key was made of them, the context
    where that is known; whoever follows them makes the image of the key, whatever has been edited
    since.
    """

    image: str
    context: Path
    dockerfile: Path
    dockerfile_label: str
    tags: tuple[str, ...]
    parsed: Dockerfile
    target: str | None = None
    args: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    contexts: Mapping[str, str] = field(default_factory=dict)
    secrets: Mapping[str, SecretSource] = field(default_factory=dict)
    platform: str | None = None
    features: frozenset[str] = frozenset()
    no_cache: bool = False
    timeout: float | None = None
    in_engine: bool = True
    published: bool = False
    in_process: bool = False
    base: str = ""
    read: ReadContext | None = None

    def __repr__(self) -> str:
        return f"BuildRequest({self.image!r}, tags={self.tags!r})"


class BuildResult(Struct, frozen=True, kw_only=True):
    """``image_id`` as the engine names it, ``size`` in bytes, ``cached``: no step had to run.

    ``size`` is None where only an engine could tell, and none has the image. ``engine`` made it.
    ``local`` is what the Docker Engine calls it where that is not its id: another run can take a
    name, but not where every run makes the same.
    """

    image_id: str
    size: int | None
    cached: bool = False
    engine: str = ""
    local: str = ""
