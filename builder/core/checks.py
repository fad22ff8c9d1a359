"""What is allowed but probably not meant: warnings about a tree that can be built."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from msgspec import Struct

from builder.core.dockerfile.model import BaseUse, Via
from builder.core.errors import Location
from builder.core.graph import ImageGraph
from builder.core.image import Image
from builder.core.keys import KNOWN_BY_RUN
from builder.core.reference import BadReferenceError, Reference

SHOWN_FILES = 5


class TreeWarning(Struct, frozen=True, kw_only=True):
    """One warning: a place, a fact, a remedy."""

    where: Location
    message: str
    hint: str

    def __str__(self) -> str:
        return f"{self.where}: warning: {self.message}\n  hint: {self.hint}"


def warnings(
    image: Image, *, tags: Mapping[str, str], unread: tuple[str, ...]
) -> Iterator[TreeWarning]:
    """All warnings for one image, in the order of its Dockerfile.

    ``tags`` are the release tags of all images, without any "-dirty"; ``unread`` the files of the
    context that nothing copies.
    """
    for base in image.needs.bases:
        parent = image.links.get(base.text)
        if parent is None:
            yield from _external(base)
        else:
            yield from _tag_mismatch(base, parent, tags[parent])
    yield from _replaced_labels(image)
    yield from _junk(image, unread)


def _tag_mismatch(base: BaseUse, parent: str, tag: str) -> Iterator[TreeWarning]:
    written = Reference.parse(base.text).tag
    if written and written != tag:
        yield TreeWarning(
            where=base.location,
            message=f'{base.via.value} names the tag "{written}" of {parent}, but the tree gives it'
            f' the tag "{tag}"',
            hint=f"the tree's own {parent} is used whatever the tag says; leave the tag out",
        )


def _external(base: BaseUse) -> Iterator[TreeWarning]:
    try:
        reference = Reference.parse(base.text)
    except BadReferenceError:
        return  # a redirected name need not be a reference
    if reference.digest or reference.tag not in ("", "latest"):
        return
    what = "FROM" if base.via is Via.FROM else f"{base.via.value} from"
    yield TreeWarning(
        where=base.location,
        message=f"{what} {base.text} takes whatever is newest on the day of the build",
        hint="name a tag, e.g. debian:trixie-slim",
    )


def _replaced_labels(image: Image) -> Iterator[TreeWarning]:
    for name, where in image.needs.own_labels.items():
        if name in KNOWN_BY_RUN:
            yield TreeWarning(
                where=where,
                message=f"the label {name} of {image.name} is replaced by what the run knows",
                hint="leave it out: commit, time and base of an image are known when it is made",
            )


def _junk(image: Image, unread: tuple[str, ...]) -> Iterator[TreeWarning]:
    if not unread:
        return
    shown = ", ".join(f'"{path}"' for path in unread[:SHOWN_FILES])
    more = f" and {len(unread) - SHOWN_FILES} more" if len(unread) > SHOWN_FILES else ""
    yield TreeWarning(
        where=Location(image.source.directory),
        message=f"no COPY or ADD of {image.name} reads {shown}{more}",
        hint="delete them, or name them in .dockerignore",
    )


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
