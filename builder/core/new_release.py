"""What the release of a run holds, and what a refresh asks of a run."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime, timezone

from msgspec import Struct, field
from msgspec.structs import replace

from builder.core import reasons
from builder.core.bases import Pin
from builder.core.events import ImageResult, ImageStatus, Summary
from builder.core.graph import ImageGraph
from builder.core.image import Image
from builder.core.plan import Decision, Plan, Reuse
from builder.core.release import (
    LATEST,
    NIGHTLY,
    EarlierReleases,
    Inputs,
    Release,
    ReleasedImage,
)
from builder.core.select import Selection
from builder.core.stale import StaleImages
from builder.core.text import moment


class Frame(Struct, frozen=True, kw_only=True):
    """What a release says of its tree and run, beside its images.

    ``tags`` are the release tags of all images that the tree has; ``refresh``: the run makes stale
    images anew, and takes over the others.
    """

    tag: str
    project: str
    namespace: str
    commit: str = ""
    branch: str = ""
    dirty: bool = False
    refresh: bool = False
    tags: Mapping[str, str] = field(default_factory=dict)


class ImageRecord(Struct, frozen=True, kw_only=True):
    """What the manifest of a new image tells, and the digest of its inventory."""

    digest: str
    media_type: str
    size: int
    inventory: str = ""


def nothing_to_do(plan: Plan, earlier: EarlierReleases) -> bool:
    """Whether the release of this run is there, and every image of the plan is as it has it."""
    return earlier.same is not None and plan.publishes_nothing


def is_left_behind(earlier: EarlierReleases, frame: Frame) -> bool:
    """Whether the newest release is not called so: a run was cut off before it moved the tag."""
    same, last = earlier.same, earlier.last
    if same is None or frame.dirty or (last is not None and last.tag == same.tag):
        return False
    if last is None:
        return True
    ours, theirs = moment(same.created), moment(last.created)
    return ours is not None and (theirs is None or ours > theirs)


def published(plan: Plan, summary: Summary) -> list[ImageResult]:
    """The images that have got their release tag."""
    results = [(step, summary.images[step.image]) for step in plan.steps]
    return [result for step, result in results if _is_published(step, result)]


def _is_published(step: Decision, result: ImageResult) -> bool:
    """An ancestor that was only built upon has no release tag."""
    if result.status is not ImageStatus.OK or not result.digest:
        return False
    return step.selected or not isinstance(step, Reuse)


def known(
    result: ImageResult, inputs: Inputs, earlier: EarlierReleases, frame: Frame
) -> ReleasedImage | None:
    """The image as an earlier release has it, under the tag of this one; None for a new one."""
    for release in (earlier.same, earlier.last):
        image = release.images.get(result.image) if release else None
        if image is not None and (image.digest, image.key) == (result.digest, result.key):
            return replace(image, tag=frame.tags[result.image], inputs=inputs)
    return None


def new(
    image: Image,
    result: ImageResult,
    inputs: Inputs,
    record: ImageRecord,
    *,
    tag: str,
    generation: int,
) -> ReleasedImage:
    """An image that no release has."""
    return ReleasedImage(
        name=image.name,
        path=image.repository.path,
        tag=tag,
        digest=record.digest,
        key=result.key,
        group=image.group,
        size=record.size,
        media_type=record.media_type,
        generation=generation,
        inventory=record.inventory,
        labels=dict(image.needs.labels),
        # What was put together has no inventory of its own, but its base's packages.
        base="" if record.inventory else image.links.get(image.base or "", ""),
        inputs=inputs,
    )


def missing(summary: Summary) -> dict[str, str]:
    """The optional images that failed, each with the reason in one line."""
    return {
        name: result.error.message.partition("\n")[0]
        if result.error
        else f"{result.blocked_by} failed"
        for name, result in summary.images.items()
        if result.optional and result.status is not ImageStatus.OK
    }


def kept(
    earlier: EarlierReleases, made: Iterable[str], lost: Iterable[str], frame: Frame
) -> dict[str, ReleasedImage]:
    """What the release before has and this run has left alone; a refresh gives it new names."""
    others = frame.tags.keys() - set(made) - set(lost)
    images = {name: image for name, image in earlier.images.items() if name in others}
    if not frame.refresh:
        return images
    return {name: replace(image, tag=frame.tags[name]) for name, image in images.items()}


def compose(
    frame: Frame,
    earlier: EarlierReleases,
    *,
    made: Mapping[str, ReleasedImage],
    missing: Mapping[str, str],
    now: float,
) -> Release:
    """The release; the earlier one of the same tag where that says the same already.

    ``missing`` are the images that this run was to make and could not, with the reasons; what the
    release before lacked stays missing until it is made. ``now`` in seconds since the epoch.
    """
    before, same = earlier.before, earlier.same
    lacked = {
        name: why
        for name, why in (before.missing if before else {}).items()
        if name not in made and name in frame.tags
    }
    images = {**kept(earlier, made, missing, frame), **made}
    release = Release(
        tag=frame.tag,
        project=frame.project,
        namespace=frame.namespace,
        commit=frame.commit,
        created=datetime.fromtimestamp(now, timezone.utc).isoformat(timespec="seconds"),
        branch=frame.branch,
        dirty=frame.dirty,
        previous=same.previous if same else earlier.last.tag if earlier.last else "",
        images=dict(sorted(images.items())),
        missing={**lacked, **missing},
    )
    return same if same and replace(release, created=same.created) == same else release


def moving_tags(frame: Frame) -> tuple[str, ...]:
    """What is set last; a tree with edits has no commit behind it, so it moves nothing."""
    if frame.dirty:
        return ()
    return (NIGHTLY, LATEST) if frame.refresh else (LATEST,)


def release_tag(short: str, *, suffix: str = "", dirty: bool = False) -> str:
    """The tag of a release: the short commit, with what is odd about the run behind it."""
    tag = short or "none"
    if suffix:
        tag = f"{tag}.{suffix}"
    return f"{tag}-dirty" if dirty else tag


class Renewal(Struct, frozen=True, kw_only=True):
    """``stale`` images get a new generation and no layer cache; ``above`` are built on them.

    Both map an image to the reasons. ``suffix`` follows the tags of the release. ``bases`` are the
    digests that external bases have to be taken at. ``generations`` count, for each image, how
    often it was made anew, this time included. ``hoped_for`` maps images to their packages' ids,
    and these to the versions that the refresh is made for.
    """

    stale: Mapping[str, tuple[str, ...]]
    above: Mapping[str, tuple[str, ...]]
    suffix: str
    bases: Mapping[str, str] = field(default_factory=dict)
    generations: Mapping[str, int] = field(default_factory=dict)
    hoped_for: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

    @property
    def images(self) -> frozenset[str]:
        return frozenset((*self.stale, *self.above))

    @property
    def pins(self) -> Mapping[str, Pin]:
        """What the check found the bases to be: the images are to be made of no others."""
        return {text: Pin(digest=digest) for text, digest in self.bases.items()}

    def selection(self, graph: ImageGraph) -> Selection:
        """The images that are made anew."""
        names = graph.in_order(self.images)
        return Selection(images=names, because={name: self.reasons(name) for name in names})

    def tag(self, tag: str) -> str:
        """The tag of this refresh for what has ``tag`` otherwise."""
        return f"{tag}.{self.suffix}"

    def reasons(self, image: str) -> tuple[str, ...]:
        return self.stale.get(image) or self.above[image]


def renewal(
    verdict: StaleImages, *, now: Mapping[str, str], generations: Mapping[str, int], suffix: str
) -> Renewal:
    """What follows from what a check found; ``generations`` are those of the last release."""
    return Renewal(
        stale={name: reasons.stale(found) for name, found in verdict.stale.items()},
        above={name: reasons.stands_on_stale(causes) for name, causes in verdict.above.items()},
        suffix=suffix,
        bases=now,
        generations={name: count + (name in verdict.stale) for name, count in generations.items()},
        hoped_for={
            name: {
                one.package.id: one.candidate
                for one in (*found.outdated, *verdict.held.get(name, ()))
            }
            for name, found in verdict.stale.items()
        },
    )


def next_suffix(day: str, taken: Iterable[str]) -> str:
    """``20250131``, and ``20250131.2`` if there was a refresh on that day already."""
    suffixes = frozenset(taken)
    count = 1
    while (suffix := day if count == 1 else f"{day}.{count}") in suffixes:
        count += 1
    return suffix
