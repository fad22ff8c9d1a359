"""What will be done for each image and why: a pure function of graph, selection and what exists."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum

from builder.graph import ImageGraph
from builder.remarks import remarks_on
from builder.select import Selection


class Action(str, Enum):
    """What happens to one image of the plan."""

    REUSE = "reuse"
    RETAG = "retag"
    ASSEMBLE = "assemble"
    BUILD = "build"
    BLOCKED = "blocked"


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One image of the plan.

    ``key`` is "" where it cannot be known yet, because a base has still to be fetched. ``refs`` are
    the full references that the image gets, release tag first. ``digest`` is that of an image that
    the registry has already, "" for all others. ``parents`` are the in-tree images
    of the plan that have to be made first. ``selected`` is False for an ancestor that is only there
    because a selected image is built on it.
    """

    image: str
    action: Action
    reasons: tuple[str, ...]
    key: str
    refs: tuple[str, ...]
    parents: tuple[str, ...] = ()
    selected: bool = True
    optional: bool = False
    blocked_by: str | None = None
    digest: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
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
) -> Plan:
    """Decide for every selected image, and for every ancestor that one of them needs."""
    names = wanted(graph, selection, known)
    steps: list[Step] = []
    for name in names:
        facts = known[name]
        selected = name in selection.because
        there = _is_there(facts, selected=selected)
        children = [child for child in graph.children(name) if child in names]
        because = selection.because.get(name, ())
        steps.append(
            Step(
                image=name,
                action=_action(facts, there=there, selected=selected),
                reasons=_reasons(facts, because, children, no_reuse=no_reuse),
                key=facts.key,
                refs=facts.refs,
                parents=tuple(p for p in graph[name].parents if p in names and not there),
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


def _is_there(facts: Known, *, selected: bool) -> bool:
    """Whether nothing has to be made: what is selected counts only where it is published."""
    return bool(facts.digest if selected else facts.existing)


def _action(facts: Known, *, there: bool, selected: bool) -> Action:
    if not there:
        return Action.BUILD
    return Action.REUSE if facts.tagged or not selected else Action.RETAG


def _reasons(
    facts: Known, because: Sequence[str], children: Sequence[str], *, no_reuse: bool
) -> tuple[str, ...]:
    """``because`` are the targets that selected it, ``children`` what needs it otherwise."""
    if not because:
        return (f"needed by {', '.join(children)}", _availability(facts, no_reuse=no_reuse))
    if facts.digest:
        return (_publication(facts),)
    return facts.reasons or tuple(f'selected by "{target}"' for target in because)


def _publication(facts: Known) -> str:
    if facts.tagged:
        return "published already, with this content and this tag"
    return f"the registry has its key{f', of {facts.of}' if facts.of else ''}"


def _availability(facts: Known, *, no_reuse: bool) -> str:
    if no_reuse:
        return "--no-reuse makes it anew"
    if facts.existing:
        return f"{facts.existing} has its key"
    if not facts.key:
        return "its base has still to be fetched, so its key is not known"
    return "neither the engine nor the registry has its key"
