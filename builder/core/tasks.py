"""Turns a plan into tasks: which phases each image goes through, and what waits for what."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence

from builder.core.events import Phase, StepId
from builder.core.plan import Assemble, Block, Decision, Plan, Retag, Reuse
from builder.core.schedule import GATE, Task

BUILD_POOL = "build"
PUSH_POOL = "push"

_ORDER = tuple(Phase)
_BARRIER = _ORDER.index(Phase.PUSH)
# Next to a build all else is short, but not nothing: among equals, what has more to do goes first.
# A build of which nothing is known weighs as much, so that the order is by generations.
_SHORT_SECONDS = 1.0


def phases(plan: Plan, tested: Collection[str], *, push: bool) -> dict[str, list[Phase]]:
    """What is done for each image; what is only reused is not tested anew.

    ``tested`` are the images with tests.
    """
    found = {
        step.image: _phases(step, tested=step.image in tested, push=push) for step in plan.steps
    }
    # One claim is for all; an image that may fail must not be the one that takes it.
    required = (step.image for step in plan.steps if not step.optional)
    first = next((name for name in required if Phase.TAG in found[name]), None)
    # Where all may fail, each takes it, for none of them can be relied on.
    for name in [first] if first else [name for name in found if Phase.TAG in found[name]]:
        found[name].append(Phase.CLAIM)
    return found


def _phases(step: Decision, *, tested: bool, push: bool) -> list[Phase]:
    tags = [Phase.TAG, Phase.MOVE] if step.moving else [Phase.TAG]
    match step:
        case Block():
            return []
        case Reuse():
            if step.to_push:
                return [Phase.BUILD, Phase.PUSH, *tags]
            return [] if step.digest else [Phase.BUILD]
        case Retag():
            return tags
    making = [Phase.BUILD, Phase.TEST] if tested else [Phase.BUILD]
    return [*making, Phase.PUSH, *tags] if push else making


def connect(
    plan: Plan, phases: Mapping[str, Sequence[Phase]], seconds: Mapping[str, float]
) -> tuple[Task, ...]:
    """The tasks of a run: ``phases`` of each image, ``seconds`` that its build is expected to take.

    - A build needs the builds of its parents, and nothing else: pushes and tests are off its path.
      What the assembler makes on an engine's image also needs the push of that one.
    - A push needs the tests of its own image and of all that the image is built on.
    - The phases that follow (tags) are barriers: each needs all that comes before it, of every
      image of the plan; of an optional image it is enough that its steps have ended. So no tag is
      set before all are published, and none at all where an image is missing that must not be.
    """
    wiring = _Wiring(plan, phases)
    return (
        *wiring.gates(),
        *(
            Task(
                id=StepId(phase, step.image),
                pool=BUILD_POOL if phase in (Phase.BUILD, Phase.TEST) else PUSH_POOL,
                needs=wiring.needs(step, phase),
                weight=(
                    seconds.get(step.image, _SHORT_SECONDS)
                    if phase is Phase.BUILD
                    else _SHORT_SECONDS
                ),
                optional=step.optional,
            )
            for step in plan.steps
            for phase in sorted(phases.get(step.image, ()), key=_ORDER.index)
        ),
    )


class _Wiring:
    """The edges between the phases of a plan."""

    def __init__(self, plan: Plan, phases: Mapping[str, Sequence[Phase]]) -> None:
        self._plan = plan
        self._phases = {image: frozenset(of_image) for image, of_image in phases.items()}
        self._tests = self._tests_below(plan)
        used = frozenset().union(*self._phases.values())
        self._barriers = [phase for phase in _ORDER[_BARRIER + 1 :] if phase in used]

    def gates(self) -> Iterator[Task]:
        """The barriers; no image is called "", so a gate can have that name."""
        required = [step.image for step in self._plan.steps if not step.optional]
        optional = [step.image for step in self._plan.steps if step.optional]
        for phase in self._barriers:
            yield Task(
                id=StepId(phase, ""),
                pool=GATE,
                needs=self._last_before(phase, required),
                after=self._last_before(phase, optional),
            )

    def needs(self, step: Decision, phase: Phase) -> frozenset[StepId]:
        needs = self._own_before(step.image, phase)
        if phase is Phase.BUILD:
            needs |= self._have(Phase.BUILD, step.parents)
            if isinstance(step, Assemble):
                needs |= self._have(Phase.PUSH, step.pushed)
        elif phase is Phase.PUSH:
            needs |= self._tests[step.image]
        elif phase in self._barriers:
            needs |= {StepId(phase, "")}
        return needs

    def _tests_below(self, plan: Plan) -> dict[str, frozenset[StepId]]:
        """Per image the tests of all that it is built on."""
        tests: dict[str, frozenset[StepId]] = {}
        for step in plan.steps:
            parents = [parent for parent in step.parents if parent in tests]
            tests[step.image] = self._have(Phase.TEST, parents).union(*(tests[p] for p in parents))
        return tests

    def _have(self, phase: Phase, images: Sequence[str]) -> frozenset[StepId]:
        return frozenset(
            StepId(phase, image) for image in images if phase in self._phases.get(image, ())
        )

    def _own_before(self, image: str, phase: Phase) -> frozenset[StepId]:
        earlier = _ORDER[: _ORDER.index(phase)]
        return frozenset(StepId(p, image) for p in earlier if p in self._phases[image])

    def _last_before(self, phase: Phase, images: Sequence[str]) -> frozenset[StepId]:
        earlier = _ORDER[: _ORDER.index(phase)]
        last = set()
        for image in images:
            own = [p for p in earlier if p in self._phases.get(image, ())]
            if own:
                last.add(StepId(own[-1], image))
        return frozenset(last)
