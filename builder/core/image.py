"""What an image of the tree is: a directory with a Dockerfile, what it is called, what it needs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from msgspec import Struct

from builder.core.dockerfile.model import Dockerfile, Needs
from builder.core.errors import Location
from builder.core.reference import Reference


class ImageSource(Struct, frozen=True, kw_only=True):
    """One image directory as it lies in the tree, its Dockerfile read but not yet understood.

    ``directory``, ``label`` (the Dockerfile) and ``context_label`` are relative to build.toml, for
    messages and JSON; ``context`` and ``dockerfile`` are where they really are.
    """

    name: str
    group: str
    directory: str
    label: str
    context_label: str
    context: Path
    dockerfile: Path
    parsed: Dockerfile
    args: Mapping[str, str]
    target: str | None = None
    platform: str | None = None

    @property
    def location(self) -> Location:
        return Location(self.label)


class Image(Struct, frozen=True, kw_only=True):
    """A source with its place in the graph.

    ``repository`` has no tag. ``links`` maps each name as the Dockerfile writes it (FROM,
    COPY --from, RUN --mount=from=) to the in-tree image that it means; ``external`` are the names
    that no image of the tree answers to. ``parents`` are in-tree and sorted. ``level`` is 0 for an
    image that is built on no other.
    """

    name: str
    source: ImageSource
    repository: Reference
    needs: Needs
    links: Mapping[str, str]
    external: tuple[str, ...]
    level: int

    @property
    def parents(self) -> tuple[str, ...]:
        return tuple(sorted(set(self.links.values())))

    @property
    def group(self) -> str:
        return self.source.group

    @property
    def base(self) -> str | None:
        """What the target stage starts from, as written; None for scratch."""
        return self.needs.base
