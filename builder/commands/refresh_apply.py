"""What a refresh changes of a run: names, selection, reasons and bases."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from msgspec.structs import replace

from builder.core.bases import Pin
from builder.core.release import NIGHTLY
from builder.core.select import Selection
from builder.tree.read import Tree

if TYPE_CHECKING:
    from builder.core.renewal import Renewal


def renamed(tree: Tree, renewal: Renewal) -> Tree:
    """The tree under the names of a refresh; one with edits moves no tag."""
    moving = () if tree.dirty else (NIGHTLY,)
    return replace(
        tree,
        tags={name: renewal.tag(tag) for name, tag in tree.tags.items()},
        moving=dict.fromkeys(tree.moving, moving),
    )


def selection(tree: Tree, renewal: Renewal) -> Selection:
    """The images that are made anew."""
    names = tree.graph.in_order(renewal.images)
    return Selection(images=names, because={name: renewal.reasons(name) for name in names})


def pins(renewal: Renewal | None) -> Mapping[str, Pin]:
    """What the check found the bases to be: the images are to be made of no others."""
    found = renewal.bases if renewal else {}
    return {text: Pin(digest=digest) for text, digest in found.items()}
