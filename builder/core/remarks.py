"""What a run has to say about images of a certain label: one line for each remark of build.toml."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from builder.core.graph import ImageGraph


def remarks_on(
    graph: ImageGraph, names: Iterable[str], remarks: Mapping[str, str]
) -> tuple[str, ...]:
    """One line per remark that concerns an image of ``names``.

    ``remarks`` are those of ``[remarks]``: ``KEY=VALUE`` or ``KEY`` to text. Labels are what an
    image has in the end, inherited ones too. A remark that concerns nobody is left out: the label
    may depend on a build argument.
    """
    labels = [graph[name].needs.labels for name in names]
    lines: list[str] = []
    for wanted, text in remarks.items():
        key, equals, value = wanted.partition("=")
        count = sum(key in each and (not equals or each[key] == value) for each in labels)
        if count:
            images = "1 image" if count == 1 else f"{count} images"
            lines.append(f"{images} with {wanted}: {text}")
    return tuple(lines)
