"""What happens to each image of a run, and why: facts in, one decision per image out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from enum import Enum

from msgspec import Struct, field

from builder.core import reasons
from builder.core.checks import remarks_on
from builder.core.graph import ImageGraph
from builder.core.published import Published
from builder.core.reference import Reference
from builder.core.release import ReleasedImage
from builder.core.select import Selection


class Action(str, Enum):
    """The kinds of decision, as JSON names them."""

    REUSE = "reuse"
    RETAG = "retag"
    ASSEMBLE = "assemble"
    BUILD = "build"
    BLOCKED = "blocked"


class Decision(Struct, frozen=True, kw_only=True, tag_field="action"):
    """What happens to one image; each kind of decision adds the fields that it needs.

    ``key`` is "" where it cannot be known yet, because a base has still to be fetched. ``tag`` is
    what the image is published under, ``moving`` the tags that are set last of all. ``selected`` is
    False for an ancestor that is only there because a selected image is built on it.
    """

    image: str
    reasons: tuple[str, ...]
    key: str
    repository: Reference
    tag: str
    moving: tuple[str, ...] = ()
    selected: bool = True
    optional: bool = False

    @property
    def action(self) -> Action:
        return Action(self.__struct_config__.tag)

    @property
    def refs(self) -> tuple[str, ...]:
        """The full references that the image gets, release tag first."""
        return tuple(str(self.repository.with_tag(tag)) for tag in (self.tag, *self.moving))

    @property
    def release(self) -> Reference:
        return self.repository.with_tag(self.tag)

    @property
    def parents(self) -> tuple[str, ...]:
        """The in-tree images of the plan that have to be made first."""
        return ()


class Reuse(Decision, frozen=True, kw_only=True, tag=Action.REUSE.value):
    """Nothing is made: ``reference`` is where its children find the image.

    ``digest`` is set where the registry has a selected image under its very tag. ``image_id`` is
    the Docker Engine's image that still has to be given its names, if that is who has it;
    ``to_push``: the registry lacks it. ``base`` is the image of the tree that it starts from.
    """

    reference: str
    image_id: str = ""
    digest: str = ""
    to_push: bool = False
    base: str = ""


class Retag(Decision, frozen=True, kw_only=True, tag=Action.RETAG.value):
    """The registry has the image as ``digest``, and only tags are missing."""

    reference: str
    digest: str


class _Made(Decision, frozen=True, kw_only=True):
    above: tuple[str, ...] = ()

    @property
    def parents(self) -> tuple[str, ...]:
        return self.above


class Assemble(_Made, frozen=True, kw_only=True, tag=Action.ASSEMBLE.value):
    """The image is put together in process.

    ``pushed`` are the parents that an engine makes: they have to be in the registry first, where
    they are read. ``in_engine`` is False where nobody asks the Docker Engine for the image.
    ``bare``: its repository has the layers of its base, as far as is known, and nobody looks for
    its key, so that it needs no other name there than its tags.
    """

    pushed: tuple[str, ...] = ()
    in_engine: bool = True
    bare: bool = False


class Build(_Made, frozen=True, kw_only=True, tag=Action.BUILD.value):
    """An engine builds the image."""


class Block(Decision, frozen=True, kw_only=True, tag=Action.BLOCKED.value):
    """The image cannot be made, because ``by`` cannot."""

    by: str


class Plan(Struct, frozen=True, kw_only=True):
    """The decisions in build order; ``commit`` is "" where no revision is known.

    ``remarks``: what whoever uses these images should know of them, a line each.
    """

    commit: str
    dirty: bool
    steps: tuple[Decision, ...]
    remarks: tuple[str, ...] = ()

    @property
    def publishes_nothing(self) -> bool:
        """Whether the registry has all of it, under its tags."""
        return all(isinstance(step, Reuse) and not step.to_push for step in self.steps)


class AvailableImage(Struct, frozen=True, kw_only=True):
    """Where an image with a certain key is: ``reference`` for engines, ``place`` for people.

    ``image_id`` is set where the Docker Engine has the image, perhaps under another name.
    """

    reference: str
    place: str
    image_id: str = ""


class ImageFacts(Struct, frozen=True, kw_only=True):
    """What is known of one image before anything is done.

    ``key`` is "" where it is not known; ``tag`` and ``moving`` are the tags that it would have;
    ``tested``: it has tests to pass. ``available`` is where an image of this key is, ``published``
    what the registry has of a selected image that is to be published; ``changes`` are why it has
    not.
    """

    key: str
    tag: str
    moving: tuple[str, ...] = ()
    optional: bool = False
    tested: bool = False
    available: AvailableImage | None = None
    published: Published | None = None
    changes: tuple[str, ...] = ()


class RunFacts(Struct, frozen=True, kw_only=True):
    """All that the plan of a run follows from.

    ``obstacles`` say of each image why it cannot be assembled, "" where it can as far as its
    Dockerfile goes; None where another engine was asked for. With ``push`` the images come to the
    registry one by one, each as soon as it is made and tested. ``refresh`` are the reasons of the
    images that a refresh makes anew; ``released`` the images of the release that this one goes on
    from.
    """

    graph: ImageGraph
    selection: Selection
    images: Mapping[str, ImageFacts]
    commit: str = ""
    dirty: bool = False
    no_reuse: bool = False
    push: bool = False
    obstacles: Mapping[str, str] | None = None
    remarks: Mapping[str, str] = field(default_factory=dict)
    refresh: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    released: Mapping[str, ReleasedImage] = field(default_factory=dict)

    def is_there(self, name: str) -> bool:
        """Whether nothing has to be made."""
        facts = self.images[name]
        if name in self.selection.because:
            return facts.published is not None or self.is_kept(name)
        return facts.available is not None

    def is_kept(self, name: str) -> bool:
        """Whether a selected image is only in the engine, and as good as one that is made now.

        What is published without an engine has other bytes than what one pushes, so it is made.
        """
        facts = self.images[name]
        if name not in self.selection.because or facts.published or facts.available is None:
            return False
        return not self.push or self.obstacles is None or bool(self.obstacles[name])


def decide(facts: RunFacts) -> Plan:
    """Decide for every selected image, and for every ancestor that one of them needs."""
    names = wanted(facts)
    making = _Making(facts, names)
    return Plan(
        commit=facts.commit,
        dirty=facts.dirty,
        steps=tuple(_decision(facts, making, name) for name in names),
        remarks=remarks_on(facts.graph, names, facts.remarks),
    )


def wanted(facts: RunFacts) -> tuple[str, ...]:
    """The selected images and the ancestors that they need, in build order.

    An ancestor that exists already needs nothing above it, and no more does what is published.
    """
    names = set(facts.selection.images)
    todo = list(names)
    while todo:
        name = todo.pop()
        if facts.is_there(name):
            continue
        for parent in facts.graph[name].parents:
            if parent not in names:
                names.add(parent)
                todo.append(parent)
    return facts.graph.in_order(names)


def _decision(facts: RunFacts, making: _Making, name: str) -> Decision:
    kind: type[Decision]
    own: dict[str, object]
    if facts.is_there(name):
        kind, own = _taken(facts, name)
    elif making.is_assembled(name):
        kind, own = Assemble, _assembling(facts, making, name)
    else:
        kind, own = Build, {"above": making.parents(name)}
    image = facts.images[name]
    common = {
        "image": name,
        "reasons": _reasons(facts, making, name),
        "key": image.key,
        "repository": facts.graph[name].repository,
        "tag": image.tag,
        "moving": image.moving,
        "selected": name in facts.selection.because,
        "optional": image.optional,
    }
    return kind(**common, **own)  # type: ignore[arg-type]


def _taken(facts: RunFacts, name: str) -> tuple[type[Decision], dict[str, object]]:
    """What is there already: all of it, or all but its tags."""
    image, reference = facts.images[name], _reference(facts, name)
    if image.published is not None:
        kind = Reuse if image.published.tagged else Retag
        return kind, {"reference": reference, "digest": image.published.digest}
    own = facts.graph[name]
    return Reuse, {
        "reference": reference,
        "image_id": image.available.image_id if image.available else "",
        "to_push": facts.push and facts.is_kept(name),
        "base": own.links.get(own.base or "", ""),
    }


def _assembling(facts: RunFacts, making: _Making, name: str) -> dict[str, object]:
    in_engine = not facts.push or making.is_needed(name) or facts.images[name].tested
    return {
        "above": making.parents(name),
        "pushed": making.built_parents(name),
        "in_engine": in_engine,
        "bare": not in_engine and not facts.graph.children(name) and _has_layers(facts, name),
    }


def _reference(facts: RunFacts, name: str) -> str:
    """Where the children of an image that is there find it."""
    image = facts.images[name]
    if image.published is not None:
        return str(facts.graph[name].repository.at(image.published.digest))
    return image.available.reference if image.available else ""


def _has_layers(facts: RunFacts, name: str) -> bool:
    """Whether the release has this image on its base as that is now, so with the same layers."""
    image = facts.graph[name]
    base = image.links.get(image.base or "", "")
    below, before = facts.released.get(base), facts.released.get(name)
    if below is None or before is None or not (reference := _reference(facts, base)):
        return False
    same_base = Reference.parse(reference).digest == below.digest
    return same_base and before.base == base and before.path == image.repository.path


def _reasons(facts: RunFacts, making: _Making, name: str) -> tuple[str, ...]:
    if name in facts.refresh:
        return facts.refresh[name]  # nobody selected it
    image, targets = facts.images[name], facts.selection.because.get(name)
    if not targets:
        place = image.available.place if image.available else ""
        children = making.children(name)
        why = reasons.needed(children, place=place, key=image.key, no_reuse=facts.no_reuse)
    elif image.published is not None:
        why = reasons.published(image.published.of, tagged=image.published.tagged)
    elif facts.is_kept(name):
        why = reasons.kept()
    else:
        why = image.changes or reasons.selected(targets)
    obstacle = making.obstacle(name)
    return (*why, reasons.needs_engine(obstacle)) if obstacle else why


class _Making:
    """How each image of a plan is made: put together here, by an engine, or not at all."""

    def __init__(self, facts: RunFacts, names: Sequence[str]) -> None:
        self._facts = facts
        self._names = frozenset(names)
        self._needed = frozenset(parent for name in names for parent in self.parents(name))
        self._engine_child = dict(self._engine_children(names))
        self._obstacles: dict[str, str] = {}
        for name in names:
            self._obstacles[name] = self._find_obstacle(name)

    def children(self, name: str) -> list[str]:
        return [child for child in self._facts.graph.children(name) if child in self._names]

    def parents(self, name: str) -> tuple[str, ...]:
        """The images of the plan that have to be made first."""
        if self._facts.is_there(name):
            return ()
        return tuple(p for p in self._facts.graph[name].parents if p in self._names)

    def is_needed(self, name: str) -> bool:
        """Whether another image of the plan is made on it."""
        return name in self._needed

    def obstacle(self, name: str) -> str:
        """Why an engine makes the image; "" where none does, or was asked for."""
        return self._obstacles[name]

    def is_assembled(self, name: str) -> bool:
        return (
            self._facts.obstacles is not None
            and not self._facts.is_there(name)
            and not self._obstacles[name]
        )

    def built_parents(self, name: str) -> tuple[str, ...]:
        """The parents that an engine builds in this run, or only has to push."""
        return tuple(
            parent
            for parent in self._facts.graph[name].parents
            if parent in self._names and self._comes_from_engine(parent)
        )

    def _comes_from_engine(self, name: str) -> bool:
        if self._facts.is_there(name):
            return self._facts.push and self._facts.is_kept(name)
        return not self.is_assembled(name)

    def _find_obstacle(self, name: str) -> str:
        """Parents first, for it depends on what makes them."""
        obstacles = self._facts.obstacles
        if obstacles is None or self._facts.is_there(name):
            return ""
        built = self.built_parents(name)
        if obstacles[name] or not built:
            return obstacles[name]
        if not self._facts.push:
            return reasons.stands_on_build(built[0])
        # A build that stood on this image would have to wait until the parent is pushed.
        child = self._engine_child[name]
        kept = self._facts.is_there(built[0])
        return reasons.stands_on_build(built[0], child, kept=kept) if child else ""

    def _engine_children(self, names: Sequence[str]) -> Iterator[tuple[str, str]]:
        """Of each image one that an engine builds and that is built on it, directly or not."""
        obstacles = self._facts.obstacles
        known: dict[str, str] = {}
        for name in reversed(names):
            for child in self.children(name):
                if self._facts.is_there(child) or obstacles is None:
                    continue
                below = child if obstacles[child] else known[child]
                if below:
                    known[name] = below
                    break
            yield name, known.setdefault(name, "")
