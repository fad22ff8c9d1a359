"""What will be done for each image and why: a pure function of graph, selection and what exists."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from enum import Enum

from msgspec import Struct

from builder.core import reasons
from builder.core.graph import ImageGraph
from builder.core.remarks import remarks_on
from builder.core.select import Selection


class Action(str, Enum):
    """What happens to one image of the plan."""

    REUSE = "reuse"
    RETAG = "retag"
    ASSEMBLE = "assemble"
    BUILD = "build"
    BLOCKED = "blocked"


class Step(Struct, frozen=True, kw_only=True):
    """One image of the plan.

    ``key`` is "" where it cannot be known yet, because a base has still to be fetched. ``refs`` are
    the full references that the image gets, release tag first. ``digest`` is that of an image that
    the registry has already, "" for all others. ``parents`` are the in-tree images
    of the plan that have to be made first; ``pushed`` are those of them that have to be in the
    registry first, because an engine makes them and the assembler reads them there. ``selected`` is
    False for an ancestor that is only there because a selected image is built on it.
    """

    image: str
    action: Action
    reasons: tuple[str, ...]
    key: str
    refs: tuple[str, ...]
    parents: tuple[str, ...] = ()
    pushed: tuple[str, ...] = ()
    selected: bool = True
    optional: bool = False
    blocked_by: str | None = None
    digest: str = ""


class Plan(Struct, frozen=True, kw_only=True):
    """The steps in build order; ``commit`` is "" where no revision is known.

    ``remarks``: what whoever uses these images should know of them, a line each.
    """

    commit: str
    dirty: bool
    steps: tuple[Step, ...]
    remarks: tuple[str, ...] = ()

    def as_json(self) -> dict[str, object]:
        """The contract of ``ocbuild plan --json``."""
        return {
            "commit": self.commit or None,
            "dirty": self.dirty,
            "steps": [
                {
                    "image": step.image,
                    "action": step.action.value,
                    "reasons": list(step.reasons),
                    "key": step.key or None,
                    "refs": list(step.refs),
                    "blocked_by": step.blocked_by,
                }
                for step in self.steps
            ],
        }


class Known(Struct, frozen=True, kw_only=True):
    """What is known of one image before anything is done.

    ``key`` is "" where it is not known; ``existing`` says where the key was found, as a person
    would read it ("the engine"), or is "". ``refs`` are what the image would be called.

    ``digest`` is set where the registry has a selected image that is to be published: ``tagged``,
    it even has its release tag; ``of`` is the release that it was found in. ``reasons`` are why it
    has to be built otherwise.
    """

    key: str
    refs: tuple[str, ...]
    existing: str = ""
    optional: bool = False
    digest: str = ""
    tagged: bool = False
    of: str = ""
    reasons: tuple[str, ...] = ()


def wanted(graph: ImageGraph, selection: Selection, known: Mapping[str, Known]) -> tuple[str, ...]:
    """The selected images and the ancestors that they need, in build order.

    An ancestor that exists already needs nothing above it, and no more does what is published.
    """
    found = set(selection.images)
    todo = list(found)
    while todo:
        name = todo.pop()
        if _is_there(known[name], selected=name in selection.because):
            continue
        for parent in graph[name].parents:
            if parent not in found:
                found.add(parent)
                todo.append(parent)
    return graph.in_order(found)


def make_plan(
    graph: ImageGraph,
    selection: Selection,
    known: Mapping[str, Known],
    *,
    commit: str,
    dirty: bool,
    no_reuse: bool = False,
    remarks: Mapping[str, str] | None = None,
    assembler: Mapping[str, str] | None = None,
    push: bool = False,
) -> Plan:
    """Decide for every selected image, and for every ancestor that one of them needs.

    ``assembler`` says of each image why the assembler cannot make it, "" where it can as far as its
    Dockerfile goes; it is None where another engine was asked for. With ``push`` the images come
    to the registry one by one, each as soon as it is made and tested.
    """
    names = wanted(graph, selection, known)
    made = _Made(graph, selection, known, names, assembler, push=push)
    steps: list[Step] = []
    for name in names:
        facts = known[name]
        selected = name in selection.because
        there = _is_there(facts, selected=selected)
        because = selection.because.get(name, ())
        obstacle = made.obstacle(name)
        why = _reasons(facts, because, made.children(name), no_reuse=no_reuse)
        steps.append(
            Step(
                image=name,
                action=made.action(name),
                reasons=(*why, reasons.needs_engine(obstacle)) if obstacle else why,
                key=facts.key,
                refs=facts.refs,
                parents=tuple(p for p in graph[name].parents if p in names and not there),
                pushed=made.pushed(name),
                selected=selected,
                optional=facts.optional,
                digest=facts.digest,
            )
        )
    return Plan(
        commit=commit,
        dirty=dirty,
        steps=tuple(steps),
        remarks=remarks_on(graph, names, remarks or {}),
    )


class _Made:
    """How each image of a plan is made: by the assembler, by an engine, or not at all."""

    def __init__(
        self,
        graph: ImageGraph,
        selection: Selection,
        known: Mapping[str, Known],
        names: Sequence[str],
        assembler: Mapping[str, str] | None,
        *,
        push: bool,
    ) -> None:
        self._graph = graph
        self._known = known
        self._selected = frozenset(selection.because)
        self._names = frozenset(names)
        self._own = assembler
        self._push = push
        self._engine_child = dict(self._engine_children(names))
        self._obstacles: dict[str, str] = {}
        for name in names:
            self._obstacles[name] = self._find_obstacle(name)

    def children(self, name: str) -> list[str]:
        return [child for child in self._graph.children(name) if child in self._names]

    def obstacle(self, name: str) -> str:
        """Why an engine makes the image; "" where none does, or was asked for."""
        return self._obstacles[name]

    def action(self, name: str) -> Action:
        if self._is_there(name):
            facts = self._known[name]
            tagged = facts.tagged or name not in self._selected
            return Action.REUSE if tagged else Action.RETAG
        assembled = self._own is not None and not self._obstacles[name]
        return Action.ASSEMBLE if assembled else Action.BUILD

    def pushed(self, name: str) -> tuple[str, ...]:
        """The parents that have to be in the registry before the image can be assembled."""
        if self.action(name) is not Action.ASSEMBLE:
            return ()
        return self._built_parents(name)

    def _is_there(self, name: str) -> bool:
        return _is_there(self._known[name], selected=name in self._selected)

    def _built_parents(self, name: str) -> tuple[str, ...]:
        return tuple(
            parent
            for parent in self._graph[name].parents
            if parent in self._names and self.action(parent) is Action.BUILD
        )

    def _find_obstacle(self, name: str) -> str:
        """Parents first, for it depends on what makes them."""
        if self._own is None or self._is_there(name):
            return ""
        built = self._built_parents(name)
        if self._own[name] or not built:
            return self._own[name]
        if not self._push:
            return reasons.stands_on_build(built[0])
        # A build that stood on this image would have to wait until the parent is pushed.
        child = self._engine_child[name]
        return reasons.stands_on_build(built[0], child) if child else ""

    def _engine_children(self, names: Sequence[str]) -> Iterator[tuple[str, str]]:
        """Of each image one that an engine builds and that is built on it, directly or not."""
        found: dict[str, str] = {}
        for name in reversed(names):
            for child in self.children(name):
                if self._is_there(child) or self._own is None:
                    continue
                below = child if self._own[child] else found[child]
                if below:
                    found[name] = below
                    break
            yield name, found.setdefault(name, "")


def _is_there(facts: Known, *, selected: bool) -> bool:
    """Whether nothing has to be made: what is selected counts only where it is published."""
    return bool(facts.digest if selected else facts.existing)


def _reasons(
    facts: Known, because: Sequence[str], children: Sequence[str], *, no_reuse: bool
) -> tuple[str, ...]:
    """``because`` are the targets that selected it, ``children`` what needs it otherwise."""
    if not because:
        return reasons.needed(children, place=facts.existing, key=facts.key, no_reuse=no_reuse)
    if facts.digest:
        return reasons.published(facts.of, tagged=facts.tagged)
    return facts.reasons or reasons.selected(because)
