"""What the registry has, told by releases and by answers of which each is only asked for once."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from msgspec.structs import replace

from builder.core.errors import PublishError
from builder.core.keys import key_tag
from builder.core.published import Published, Question, Sought, answered, consult
from builder.core.reference import Reference
from builder.core.release import EarlierReleases, Inputs, Release, ReleasedImage

KEY, OTHER_KEY = "k" * 64, "o" * 64
PLACE = Reference(path="acme/app", registry="registry:5000")
SOUGHT = Sought(image="app", repository=PLACE, key=KEY, tag="1.0-now", tests="t")


def release(
    tag: str, image_tag: str = "1.0-now", *, key: str = KEY, tests: str = "t", digest: str = ""
) -> Release:
    image = ReleasedImage(
        name="app",
        path=PLACE.path,
        tag=image_tag,
        digest=digest or f"sha256:{tag}",
        key=key,
        group="images",
        inputs=Inputs(recipe="r", tests=tests),
    )
    return Release(
        tag=tag, project="acme", namespace="acme", commit="", created="", images={"app": image}
    )


def asked(
    sought: Sought, earlier: EarlierReleases, tags: Mapping[str, str], *, immutable: bool = True
) -> tuple[Published | None, list[str]]:
    """What comes of it in a registry with these tags, and the tags that were looked at."""
    looked: list[str] = []
    step = consult(replace(sought, release=earlier.same.tag if earlier.same else ""), earlier)
    while isinstance(step, Question):
        assert step.reference.path == PLACE.path
        looked.append(step.reference.tag)
        step = answered(step, tags.get(step.reference.tag, ""), immutable=immutable)
    return step, looked


NOTHING = EarlierReleases()
LAST = EarlierReleases(last=release("last", "1.0-last"))
SAME = EarlierReleases(same=release("now"), last=release("last", "1.0-last"))
BY_KEY, BY_TAG = key_tag(KEY, "t"), "1.0-now"


@pytest.mark.parametrize(
    ("case", "earlier", "tags", "expected", "looked"),
    [
        (
            "a second run on the same commit asks for the tag, and no more",
            SAME,
            {BY_TAG: "sha256:now"},
            ("sha256:now", True, "now"),
            [BY_TAG],
        ),
        (
            "somebody has taken the tag away since the release was written",
            SAME,
            {},
            ("sha256:now", False, "now"),
            [BY_TAG],
        ),
        (
            "after an empty commit the last release tells, and nothing is asked",
            LAST,
            {},
            ("sha256:last", False, "last"),
            [],
        ),
        (
            "the last release had this very tag, as where tags have no commit",
            EarlierReleases(last=release("last")),
            {BY_TAG: "sha256:last"},
            ("sha256:last", False, "last"),
            [BY_TAG],
        ),
        (
            "it had this tag, and somebody has taken it away since",
            EarlierReleases(last=release("last")),
            {},
            ("sha256:last", False, "last"),
            [BY_TAG],
        ),
        (
            "this commit is published in part: only the last release has the image",
            replace(SAME, same=release("now", key=OTHER_KEY)),
            {BY_TAG: "sha256:last"},
            ("sha256:last", False, "last"),
            [BY_TAG],
        ),
        (
            "so it is, and the last release had this very tag: whether it still does is asked",
            EarlierReleases(same=release("now", key=OTHER_KEY), last=release("last")),
            {},
            ("sha256:last", False, "last"),
            [BY_TAG],
        ),
        (
            "this commit is published, and the image has another tag there than it is to have now",
            replace(SAME, same=release("now", "0.9-now")),
            {},
            ("sha256:now", False, "now"),
            [BY_TAG],
        ),
        (
            "a run that was killed has left it under its key",
            NOTHING,
            {BY_KEY: "sha256:left"},
            ("sha256:left", False, ""),
            [BY_KEY, BY_TAG],
        ),
        (
            "a run that was killed between the tags has left it under both",
            NOTHING,
            {BY_KEY: "sha256:left", BY_TAG: "sha256:left"},
            ("sha256:left", False, ""),
            [BY_KEY, BY_TAG],
        ),
        (
            "it lies under its key, and has passed no tests or others",
            NOTHING,
            {key_tag(KEY): "sha256:left", key_tag(KEY, "u"): "sha256:left"},
            None,
            [BY_KEY],
        ),
        ("nobody has made it, so its tag is not looked at", NOTHING, {}, None, [BY_KEY]),
        (
            "what was edited is in a release under another key only",
            EarlierReleases(last=release("last", key=OTHER_KEY)),
            {BY_TAG: "sha256:other"},
            None,
            [BY_KEY],
        ),
        (
            "it has not passed these tests, and its key is not looked for either",
            EarlierReleases(last=release("last", tests="others")),
            {BY_KEY: "sha256:last", BY_TAG: "sha256:last"},
            None,
            [],
        ),
        (
            "of two releases that have it this commit's own counts",
            EarlierReleases(same=release("now", tests="others"), last=release("last", "1.0-last")),
            {},
            None,
            [],
        ),
    ],
)
def test_what_the_registry_has(
    case: str,
    earlier: EarlierReleases,
    tags: Mapping[str, str],
    expected: tuple[str, bool, str] | None,
    looked: list[str],
) -> None:
    fact, questions = asked(SOUGHT, earlier, tags)
    known = None if fact is None else (fact.digest, fact.tagged, fact.of)
    assert (known, questions) == (expected, looked), case


def test_what_is_quick_to_make_is_not_looked_for_by_its_key() -> None:
    quick = replace(SOUGHT, by_key=False)
    assert asked(quick, NOTHING, {BY_KEY: "sha256:left"}) == (None, [])
    assert asked(quick, LAST, {})[0] == Published(digest="sha256:last", of="last")


def test_an_image_whose_key_is_not_known_is_not_looked_for() -> None:
    assert asked(replace(SOUGHT, key=""), NOTHING, {key_tag(""): "sha256:odd"}) == (None, [])
    unkeyed = EarlierReleases(last=release("last", "1.0-last", key=""))
    assert asked(replace(SOUGHT, key=""), unkeyed, {}) == (None, [])


def test_an_image_that_the_release_does_not_name_is_looked_for() -> None:
    other = replace(SOUGHT, image="other")
    assert asked(other, SAME, {BY_KEY: "sha256:left"}) == (
        Published(digest="sha256:left"),
        [BY_KEY, BY_TAG],
    )


@pytest.mark.parametrize(
    ("earlier", "digest"),
    [(NOTHING, "sha256:left"), (EarlierReleases(last=release("last")), "sha256:last")],
)
def test_a_release_tag_never_comes_to_mean_another_image(
    earlier: EarlierReleases, digest: str
) -> None:
    tags = {BY_KEY: "sha256:left", BY_TAG: "sha256:other"}
    with pytest.raises(PublishError) as caught:
        asked(SOUGHT, earlier, tags)
    assert caught.value.message == (
        f"{PLACE.with_tag(BY_TAG)} is published already, and with other content:"
        f" sha256:other there, {digest} here"
    )
    assert "make a new commit" in str(caught.value.hint)
    fact, _ = asked(SOUGHT, earlier, tags, immutable=False)
    assert fact is not None
    assert (fact.digest, fact.tagged) == (digest, False)


def test_an_image_that_is_gone_with_its_tag_is_made() -> None:
    question = Question(sought=SOUGHT, digest="sha256:gone", of="now")
    assert answered(question, "", immutable=True, gone=True) is None
    assert answered(question, "", immutable=True) == Published(digest="sha256:gone", of="now")


def test_of_two_images_made_of_the_same_the_one_with_the_tag_stays() -> None:
    question = Question(sought=SOUGHT, digest="sha256:found", of="now")
    adopted = answered(question, "sha256:earlier", immutable=True, key=KEY)
    assert adopted == Published(digest="sha256:earlier", of="now")
    with pytest.raises(PublishError, match="with other content"):
        answered(question, "sha256:earlier", immutable=True, key=OTHER_KEY)


def test_the_release_of_this_commit_is_asked_before_the_last_one() -> None:
    both = EarlierReleases(same=release("now"), last=release("last"))
    assert both.before is both.same
    assert both.images == release("now").images
    assert both.having("app", KEY) == both.same
    assert both.having("app", OTHER_KEY) is None
    assert both.having("other", KEY) is None
    assert LAST.before == LAST.last
    assert (NOTHING.before, NOTHING.images) == (None, {})
