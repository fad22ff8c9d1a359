"""Which stages of a file a target needs, and what each of them runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

from builder.core.dockerfile.blame import placed
from builder.core.dockerfile.model import Dockerfile, Inherited, Instruction
from builder.core.dockerfile.mounts import origin_of
from builder.core.dockerfile.stages import Base, StageNames
from builder.core.errors import DockerfileError, Location

_SCRATCH = Inherited(env={}, labels={}, complete=True)
_EXTERNAL = Inherited(env={}, labels={}, complete=False)


class Step(NamedTuple):
    """An instruction to run and its line; that of a trigger is the FROM that brings it."""

    instruction: Instruction
    line: int


class StageGraph:
    def __init__(
        self,
        dockerfile: Dockerfile,
        bases: tuple[Base, ...],
        inherited: Callable[[str], Inherited | None],
    ) -> None:
        self.names = StageNames(dockerfile)
        self.bases = bases
        self._dockerfile = dockerfile
        self._inherited = inherited
        self._images: dict[str, Inherited] = {}
        self._steps: dict[int, tuple[Step, ...]] = {}

    def needed(self, target: int) -> tuple[int, ...]:
        """The target and all that it is built from or copies from, ascending."""
        found: set[int] = set()
        waiting = [target]
        while waiting:
            index = waiting.pop()
            if index not in found:
                found.add(index)
                waiting.extend(self._uses(index))
        return tuple(sorted(found))

    def base(self, index: int) -> str | None:
        """The image that a stage starts from, through stages of this file; None for scratch."""
        base = self.bases[index]
        while base.stage is not None:
            base = self.bases[base.stage]
        return base.text

    def image(self, base: Base) -> Inherited:
        """What the image below a stage hands on; scratch hands on nothing."""
        if base.text is None:
            return _SCRATCH
        if base.text not in self._images:
            self._images[base.text] = self._inherited(base.text) or _EXTERNAL
        return self._images[base.text]

    def steps(self, index: int) -> tuple[Step, ...]:
        """The triggers of the base, then the stage's own instructions."""
        if index not in self._steps:
            base, stage = self.bases[index], self._dockerfile.stages[index]
            triggers = self.image(base).onbuild if base.stage is None else self.triggers(base.stage)
            self._steps[index] = (
                *[Step(trigger, stage.line) for trigger in triggers],
                *[Step(instruction, instruction.line) for instruction in stage.instructions],
            )
        return self._steps[index]

    def triggers(self, index: int) -> tuple[Instruction, ...]:
        """The ONBUILD triggers that a stage leaves for what is built on it."""
        return tuple(
            instruction.trigger
            for instruction in self._dockerfile.stages[index].instructions
            if instruction.trigger is not None
        )

    def _uses(self, index: int) -> Iterator[int]:
        base = self.bases[index].stage
        if base is not None:
            yield base
        for step in self.steps(index):
            if not step.instruction.flags:
                continue
            try:
                yield from self._earlier_stages(index, step.instruction)
            except DockerfileError as error:
                raise placed(error, Location(self._dockerfile.path, step.line)) from None

    def _earlier_stages(self, index: int, instruction: Instruction) -> Iterator[int]:
        for name, stage in self._stages_named(instruction):
            if stage >= index:
                raise DockerfileError(
                    f'the stage "{name}" is {"this stage itself" if stage == index else "below"}',
                    hint="a stage can be used only after it: move it up, or rename it "
                    "if an image of that name is meant",
                )
            yield stage

    def _stages_named(self, instruction: Instruction) -> Iterator[tuple[str, int]]:
        for flag in instruction.flags:
            name, stage = flag.value or "", None
            if instruction.keyword == "COPY" and flag.name == "from":
                stage = self.names.by_name_or_number(name)
            elif instruction.keyword == "RUN" and flag.name == "mount":
                name = origin_of(name)
                stage = self.names.by_name(name)
            if stage is not None:
                yield name, stage
