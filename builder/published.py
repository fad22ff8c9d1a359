"""What the registry holds of a tree already, by key: the last release, and the tags of keys."""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor

from builder.errors import PublishError
from builder.image import Image
from builder.keys import key_tag
from builder.registry.client import Registry
from builder.release import Release, ReleasedImage
from builder.values import dataclass

# Requests are short and the registry does the work, so many may be on their way at once.
AT_ONCE = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """An image that the registry has with the content that is wanted.

    ``tagged``: the tag of this run is known to name it already. ``of`` is the tag of the release
    that has it, "" where only the tag of its key does.
    """

    digest: str
    tagged: bool = False
    of: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """An image that is looked for: its key, the tag that it is to have, and its tests as a hash.

    Without ``by_key`` only the releases are asked: to make it is as quick as to look further.
    """

    image: Image
    key: str
    tag: str
    tests: str = ""
    by_key: bool = True


def look_up(
    registry: Registry,
    wanted: Iterable[Wanted],
    releases: Iterable[Release | None],
    *,
    own: bool,
    immutable: bool,
) -> dict[str, Published]:
    """Those that the registry has, by name; ``releases`` are asked before the registry is.

    With ``own`` the first release is the one of this very run: what it has under that tag and key
    needs no request at all.

    Raises:
        PublishError: with ``immutable``, a tag that has to be given to other content than it has.

    """
    known = tuple(release for release in releases if release is not None)

    def one(each: Wanted) -> Published | None:
        return _find(registry, each, known, own=own, immutable=immutable)

    todo = [each for each in wanted if each.key]
    with ThreadPoolExecutor(max_workers=AT_ONCE) as threads:
        found = zip(todo, threads.map(one, todo), strict=True)
        return {each.image.name: image for each, image in found if image is not None}


def _find(
    registry: Registry,
    wanted: Wanted,
    releases: tuple[Release, ...],
    *,
    own: bool,
    immutable: bool,
) -> Published | None:
    repository = wanted.image.repository
    of, image = _in_releases(wanted, releases)
    if image is not None:
        digest = image.digest
        if image.inputs.tests != wanted.tests:
            return None  # it has not passed these tests; the engine's layer cache makes it quickly
        if own and of == releases[0].tag and image.tag == wanted.tag:
            return Published(digest=digest, tagged=True, of=of)
        if not own and image.tag != wanted.tag:
            # A release that is not there has no tags yet; the claim has each looked for anyway.
            return Published(digest=digest, of=of)
    else:
        if not wanted.by_key:
            return None
        found = registry.head(repository.with_tag(key_tag(wanted.key)))
        if found is None:
            return None
        digest = found.digest
    there = registry.head(repository.with_tag(wanted.tag))
    if there is not None and there.digest != digest and immutable:
        raise other_content(str(repository.with_tag(wanted.tag)), there.digest, digest)
    tagged = there is not None and there.digest == digest
    return Published(digest=digest, tagged=tagged, of=of)


def _in_releases(wanted: Wanted, releases: tuple[Release, ...]) -> tuple[str, ReleasedImage | None]:
    """The tag of the release that has it, "" where none has, and the image as it is there."""
    for release in releases:
        image = release.images.get(wanted.image.name)
        if image is not None and image.key == wanted.key:
            return release.tag, image
    return "", None


def other_content(reference: str, there: str, here: str) -> PublishError:
    """A release tag that would have to change what it names."""
    return PublishError(
        f"{reference} is published already, and with other content: {there} there, {here} here",
        hint="a release tag never changes its content: make a new commit, or overwrite it"
        " with --set publish.immutable=false",
    )
