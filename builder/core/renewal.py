"""What a refresh asks of a run: which images are made anew, why, and under which name."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from msgspec import Struct, field

from builder.core import reasons
from builder.core.bases import Pin
from builder.core.graph import ImageGraph
from builder.core.select import Selection
from builder.core.stale import StaleImages


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
