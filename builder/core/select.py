"""Which images the targets on the command line mean."""

from __future__ import annotations

import fnmatch
from collections.abc import Collection, Iterable, Mapping, Sequence

from msgspec import Struct

from builder.core.errors import InputError, UsageError, did_you_mean, raise_all
from builder.core.graph import ImageGraph

CHANGED = "@changed"


class Selection(Struct, frozen=True, kw_only=True):
    """The selected images in build order, each with the targets that selected it."""

    images: tuple[str, ...]
    because: Mapping[str, tuple[str, ...]]


def select(
    graph: ImageGraph,
    targets: Sequence[str],
    *,
    groups: Collection[str],
    exclude: Sequence[str] = (),
    changed: Collection[str] | None = None,
) -> Selection:
    """Unite all targets, then take out the excluded ones.

    ``changed`` holds the images with a changed input; it is only needed for ``@changed``.

    Raises:
        UsageError: a target that means nothing, with the nearest names.

    """
    errors: list[InputError] = []

    def images(target: str) -> frozenset[str]:
        try:
            return _images(graph, target, groups, changed)
        except UsageError as error:
            errors.append(error)
            return frozenset()

    because: dict[str, list[str]] = {}
    for target in dict.fromkeys(targets):
        for name in images(target):
            because.setdefault(name, []).append(target)
    left_out = {name for target in exclude for name in images(target)}
    raise_all(errors)
    chosen = graph.in_order(because.keys() - left_out)
    return Selection(images=chosen, because={name: tuple(because[name]) for name in chosen})


def needs_changes(targets: Iterable[str]) -> bool:
    """Whether any target asks what changed, so that git has to be read."""
    return any(target.strip("+") == CHANGED for target in targets)


def _images(
    graph: ImageGraph,
    target: str,
    groups: Collection[str],
    changed: Collection[str] | None,
) -> frozenset[str]:
    with_ancestors = target.startswith("+")
    with_descendants = target.endswith("+")
    core = target[with_ancestors : len(target) - with_descendants]
    matching = _core(graph, core, groups, changed)
    if matching is None:
        raise _unknown(graph, target, core, groups)
    chosen = set(matching)
    if with_ancestors:
        chosen |= graph.ancestors(matching)
    if with_descendants:
        chosen |= graph.descendants(matching)
    return frozenset(chosen)


def _core(
    graph: ImageGraph, core: str, groups: Collection[str], changed: Collection[str] | None
) -> frozenset[str] | None:
    """The images that a target without its plus signs means; None if it means nothing at all."""
    if core == "all":
        return frozenset(graph.images)
    if core == CHANGED:
        return frozenset(changed or ())
    if core.startswith("label:"):
        return frozenset(_with_label(graph, core.removeprefix("label:"))) or None
    if any(sign in core for sign in "*?["):
        return frozenset(fnmatch.filter(graph.images, core)) or None
    matching = {core} & graph.images.keys()
    if core in groups:
        matching |= {image.name for image in graph.images.values() if image.group == core}
        return frozenset(matching)
    return frozenset(matching) or None


def _with_label(graph: ImageGraph, wanted: str) -> Iterable[str]:
    key, equals, value = wanted.partition("=")
    for image in graph.images.values():
        labels = image.needs.labels
        if key in labels and (not equals or labels[key] == value):
            yield image.name


def _unknown(graph: ImageGraph, target: str, core: str, groups: Collection[str]) -> UsageError:
    if core.startswith("label:"):
        key, equals, value = core.removeprefix("label:").partition("=")
        labels = [image.needs.labels for image in graph.images.values()]
        if equals and any(key in each for each in labels):
            values = {each[key] for each in labels if key in each}
            hint = did_you_mean(value, values) or f"values in the tree: {', '.join(sorted(values))}"
            return UsageError(f'no image has the label "{key}" with the value "{value}"', hint=hint)
        known = {name for each in labels for name in each}
        return UsageError(f'no image has the label "{key}"', hint=did_you_mean(key, known))
    if any(sign in core for sign in "*?["):
        stem = core.strip("*?")
        hint = did_you_mean(stem, graph.images) or "`ocbuild list` shows all images"
        return UsageError(f'no image matches "{target}"', hint=hint)
    known = {*graph.images, *groups, "all", CHANGED}
    hint = did_you_mean(core, known) or "`ocbuild list` shows all images and groups"
    return UsageError(f'there is no image or group "{core}"', hint=hint)
