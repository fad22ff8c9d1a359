"""What the registry holds of a tree already, by key: the last release, and the tags of keys."""

from __future__ import annotations

from collections.abc import Iterable

from msgspec import Struct

from builder.core.errors import PublishError
from builder.core.image import Image
from builder.core.keys import key_tag
from builder.core.release import Release, ReleasedImage
from builder.registry.client import Registry
from builder.system import threads


class Published(Struct, frozen=True, kw_only=True):
    """An image that the registry has with the content that is wanted.

    ``tagged``: the tag of this run is known to name it already. ``of`` is the tag of the release
    that has it, "" where only the tag of its key does.
    """

    digest: str
    tagged: bool = False
    of: str = ""


class Wanted(Struct, frozen=True, kw_only=True):
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
    found: dict[str, Published] = {}
    unsure: list[tuple[Wanted, str, str]] = []
    for each in (each for each in wanted if each.key):
        name = each.image.name
        of, image = _in_releases(each, known)
        if image is None:
            if each.by_key:
                unsure.append((each, "", ""))
        elif image.inputs.tests != each.tests:
            continue  # it has not passed these tests; the engine's layer cache makes it quickly
        elif own and of == known[0].tag and image.tag == each.tag:
            found[name] = Published(digest=image.digest, tagged=True, of=of)
        elif not own and image.tag != each.tag:
            # A release that is not there has no tags yet; the claim has each looked for anyway.
            found[name] = Published(digest=image.digest, of=of)
        else:
            unsure.append((each, of, image.digest))

    def ask(about: tuple[Wanted, str, str]) -> Published | None:
        return _ask(registry, *about, immutable=immutable)

    told = zip(unsure, threads.each(ask, unsure), strict=True)
    return found | {each.image.name: there for (each, _, _), there in told if there is not None}


def _ask(
    registry: Registry, wanted: Wanted, of: str, digest: str, *, immutable: bool
) -> Published | None:
    """What the registry says of an image that a release has, or that its key alone can tell."""
    repository = wanted.image.repository
    if not digest:
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
