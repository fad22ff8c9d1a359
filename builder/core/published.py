"""What the registry has of a tree: read from releases where they tell, else asked for tag by tag.

Nothing here asks: whoever can looks at the tag of each question and gives the answer back.
"""

from __future__ import annotations

from msgspec import Struct
from msgspec.structs import replace

from builder.core.errors import PublishError
from builder.core.keys import key_tag
from builder.core.reference import Reference
from builder.core.release import EarlierReleases


class Published(Struct, frozen=True, kw_only=True):
    """An image that the registry has with the content that is wanted.

    ``tagged``: the tag of this run names it already, and the release of this run has it. ``of`` is
    the tag of the release that has it, "" where only the tag of its key does.
    """

    digest: str
    tagged: bool = False
    of: str = ""


class Sought(Struct, frozen=True, kw_only=True):
    """An image that is looked for: its key, the tag that it is to have, and its tests as a hash.

    Without ``by_key`` only the releases are consulted: to make it is as quick as to look further.
    ``release`` is the tag of this run's release, if there is one already.
    """

    image: str
    repository: Reference
    key: str
    tag: str
    tests: str = ""
    by_key: bool = True
    release: str = ""


class Question(Struct, frozen=True, kw_only=True):
    """What the tag ``reference`` names in the registry.

    Until ``digest`` is known that is the tag of the key; then it is the release tag.
    """

    sought: Sought
    digest: str = ""
    of: str = ""

    @property
    def reference(self) -> Reference:
        tag = self.sought.tag if self.digest else key_tag(self.sought.key, self.sought.tests)
        return self.sought.repository.with_tag(tag)


def consult(sought: Sought, earlier: EarlierReleases) -> Published | Question | None:
    """What the releases tell of an image; None where it has to be made."""
    if not sought.key:
        return None
    release = earlier.having(sought.image, sought.key)
    if release is None:
        return Question(sought=sought) if sought.by_key else None
    image = release.images[sought.image]
    if image.inputs.tests != sought.tests:
        return None  # it has not passed these tests; the engine's layer cache makes it quickly
    if earlier.same is None and image.tag != sought.tag:
        # A release that is not there has no tags yet; the claim has each looked for anyway.
        return Published(digest=image.digest, of=release.tag)
    # What a release says of its tags was so when it was written.
    return Question(sought=sought, digest=image.digest, of=release.tag)


def answered(
    question: Question, named: str, *, immutable: bool, key: str = "", gone: bool = False
) -> Published | Question | None:
    """What follows from the digest that the tag names, "" where the registry has no such tag.

    ``key`` is that of an image which a release tag names and which is not the one that was found:
    of two that were made of the same, the one that has the tag stays. ``gone``: neither the tag is
    there nor the image that was found, as after a prune that was stopped.

    Raises:
        PublishError: with ``immutable``, a tag that has to be given to other content than it has.

    """
    if gone:
        return None
    if not question.digest:
        return replace(question, digest=named) if named else None
    is_right = named == question.digest
    if named and not is_right and key == question.sought.key:
        return Published(digest=named, of=question.of)
    if named and not is_right and immutable:
        raise other_content(str(question.reference), named, question.digest)
    # A run that was cut off has set tags of which no release speaks: all of that is done once more.
    tagged = is_right and question.of != "" and question.of == question.sought.release
    return Published(digest=question.digest, tagged=tagged, of=question.of)


def other_content(reference: str, there: str, here: str) -> PublishError:
    """The error of a release tag that would have to change what it names."""
    return PublishError(
        f"{reference} is published already, and with other content: {there} there, {here} here",
        hint="a release tag never changes its content: make a new commit, or overwrite it"
        " with --set publish.immutable=false",
    )
