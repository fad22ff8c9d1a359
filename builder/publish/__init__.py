"""Our records in a registry, and how the images of a run come there: the Publisher protocol."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

from msgspec import Struct

from builder.core.events import Pushed
from builder.core.reference import Reference
from builder.core.registry_content import BlobSource, Manifest

Tell = Callable[[str], None]
"""Is given what a person should know, a line each."""
Progress = Callable[[int, int], None]
"""Is given bytes that were sent, and how many there are in all."""


class MadeImage(Struct, frozen=True, kw_only=True):
    """An image that this run has made.

    ``release`` is the tag that it is published under, and ``staged`` that of its key, where it lies
    until then. ``local`` is what the Docker Engine calls it, ``base`` the image of the tree that it
    starts from, or "". ``blobs`` are its own where no engine has to push it; ``bare``: these need
    no other name than the release's.
    """

    name: str
    release: Reference
    staged: Reference
    local: str
    base: str = ""
    blobs: BlobSource | None = None
    bare: bool = False


class Publisher(Protocol):
    """Publishes the images of one run in two phases; called from many threads at once.

    All images are pushed, then the claim is taken, once, and only then a tag is set.
    """

    @property
    def manifests(self) -> Mapping[str, Manifest]:
        """Those of the images that have got a tag, by digest."""

    def push(self, image: MadeImage, progress: Progress, tell: Tell) -> Pushed:
        """Have the image in the registry, where nobody takes it for published yet.

        Raises:
            PublishError: it cannot be had there, or its release tag names another image.

        """

    def claim(self, tell: Tell) -> None:
        """Be the only one who publishes, and see that nobody was quicker.

        Raises:
            PublishError: a release tag names another image by now.

        """

    def tag(self, target: Reference, digest: str) -> str:
        """Let a tag name an image that the registry has; what it names.

        That is another image than ``digest`` where the release tag names one that was made of the
        same, by a run that was cut off.
        """
