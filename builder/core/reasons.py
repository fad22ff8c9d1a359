"""Why an image is made, tagged or left alone: every such sentence of a plan, for people."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence

from builder.core.graph import ImageGraph
from builder.core.release import Inputs, Release, input_changes
from builder.core.stale import Staleness

_SHOWN_PACKAGES = 3


def selected(targets: Iterable[str]) -> tuple[str, ...]:
    """Which of the targets on the command line mean the image."""
    return tuple(f'selected by "{target}"' for target in targets)


def needed(children: Iterable[str], *, place: str, key: str, no_reuse: bool) -> tuple[str, ...]:
    """Why an image is in the plan that nobody selected; ``place`` has its key, "" for nobody."""
    return (f"needed by {', '.join(children)}", _availability(place, key, no_reuse=no_reuse))


def _availability(place: str, key: str, *, no_reuse: bool) -> str:
    if no_reuse:
        return "--no-reuse makes it anew"
    if place:
        return f"{place} has its key"
    if not key:
        return "its base has still to be fetched, so its key is not known"
    return "neither the engine nor the registry has its key"


def published(of: str, *, tagged: bool) -> tuple[str, ...]:
    """Why an image is not made: ``of`` is the release that has it, "" where none does."""
    if tagged:
        return ("published already, with this content and this tag",)
    return (f"the registry has its key{f', of {of}' if of else ''}",)


def kept() -> tuple[str, ...]:
    """Why a selected image is not made that is not published."""
    return ("the engine has it, made of the same inputs",)


def not_published(
    name: str,
    last: Release | None,
    inputs: Inputs | None,
    *,
    generation: int,
    parents: Iterable[str],
    published: Collection[str],
) -> tuple[str, ...]:
    """Why the registry does not have an image: what has changed since the release ``last``."""
    if last is None:
        return ("nothing is published yet",)
    image = last.images.get(name)
    if image is None:
        return (f"not in the last release, {last.tag}",)
    changes = input_changes(image.inputs, inputs) if inputs is not None else ()
    reasons = [f"{change} since {image.tag}" for change in changes]
    if generation != image.generation:
        reasons.append("a refresh makes it anew")
    reasons += [f"parent {parent} is rebuilt" for parent in parents if parent not in published]
    return tuple(reasons or ["not in the registry"])


def changes(
    graph: ImageGraph,
    names: Iterable[str],
    last: Release | None,
    inputs: Mapping[str, Inputs],
    *,
    generations: Mapping[str, int],
    published: Collection[str],
) -> dict[str, tuple[str, ...]]:
    """Why the registry does not have these images."""
    return {
        name: not_published(
            name,
            last,
            inputs.get(name),
            generation=generations.get(name, 0),
            parents=graph[name].parents,
            published=published,
        )
        for name in names
    }


def needs_engine(obstacle: str) -> str:
    """Why an image is not assembled."""
    return f"needs an engine: {obstacle}"


def stands_on_build(parent: str, child: str = "", *, kept: bool = False) -> str:
    """The obstacle of a parent that an engine builds; ``child`` would have to wait for its push.

    ``kept``: the engine has it, and only the registry lacks it.
    """
    because = f"an engine {'pushes' if kept else 'builds'} {parent} in this run"
    return f"{because}, and {child} on this image" if child else because


def stale(staleness: Staleness) -> tuple[str, ...]:
    """Why a refresh makes an image anew: the bases that moved, and the first packages."""
    reasons = [
        f"base {moved.name} moved from {moved.built_on} to {moved.now}" for moved in staleness.moved
    ]
    if staleness.outdated:
        packages = [
            f"{outdated.package.name} {outdated.package.version} -> {outdated.candidate}"
            for outdated in staleness.outdated
        ]
        more = len(packages) - _SHOWN_PACKAGES
        shown = ", ".join(packages[:_SHOWN_PACKAGES])
        reasons.append(f"{shown}, and {more} more" if more > 0 else shown)
    return tuple(reasons)


def stands_on_stale(causes: Sequence[str]) -> tuple[str, ...]:
    """Why a refresh makes an image anew that is not stale itself."""
    return (f"{', '.join(causes)} {'is' if len(causes) == 1 else 'are'} made anew",)
