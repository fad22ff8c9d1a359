"""The FROM lines of a file, expanded; its stages by name, and what each is built from.

As BuildKit does it:
https://github.com/moby/buildkit/blob/master/frontend/dockerfile/dockerfile2llb/convert.go
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from typing import NamedTuple

from msgspec import Struct

from builder.core.dockerfile.lines import placed
from builder.core.dockerfile.model import Dockerfile, Inherited, Instruction, Stage, origin_of
from builder.core.dockerfile.words import Expansion, WordError, expand
from builder.core.errors import DockerfileError, Location, did_you_mean

_SPECIFIER = re.compile(r"([\w-]+)(?:\([\w.+-]*\))?(?:/([\w-]+))?(?:/([\w.-]+))?", re.ASCII)
_SYSTEMS = (
    *("aix", "android", "darwin", "dragonfly", "freebsd", "illumos", "ios", "js", "linux"),
    *("nacl", "netbsd", "openbsd", "plan9", "solaris", "wasip1", "windows", "zos"),
)
_ARCHITECTURES = (
    *("386", "amd64", "arm", "arm64", "loong64", "mips", "mips64", "mips64le", "mipsle", "ppc64"),
    *("ppc64le", "riscv64", "s390x", "wasm"),
)
_SAME = {
    "i386": "386",
    "x86_64": "amd64",
    "x86-64": "amd64",
    "aarch64": "arm64",
    "macos": "darwin",
}
# The variant that goes without saying.
_PLAIN_VARIANTS = {("amd64", "v1"), ("arm64", "8"), ("arm64", "v8")}


# The kernel's word for an architecture, and OCI's.
_KERNELS = {
    "x86_64": "amd64",
    "aarch64": "arm64",
    "armv7l": "arm",
    "i686": "386",
    "loongarch64": "loong64",
}


class Platform(NamedTuple):
    system: str
    architecture: str
    variant: str

    def __str__(self) -> str:
        return "/".join(part for part in self if part)


def parse_platform(text: str) -> Platform:
    """The normal form of ``os/arch[/variant]``.

    Raises:
        DockerfileError: without a place; it is no platform.

    """
    match = _SPECIFIER.fullmatch(text)
    if match is None:
        raise DockerfileError(
            f'"{text}" is no platform', hint="write it like linux/amd64 or linux/arm/v7"
        )
    first, second, variant = (_same(part or "") for part in match.groups())
    if not second:
        return _from_one_word(text, first)
    return Platform(first, *_normal(second, variant))


def engine_platform(system: str, architecture: str) -> str:
    """What a Docker Engine builds for by default, as OCI names it, e.g. linux/amd64."""
    return f"{system}/{_KERNELS.get(architecture, architecture)}"


def _same(part: str) -> str:
    return _SAME.get(part.lower(), part.lower())


def _from_one_word(text: str, word: str) -> Platform:
    if word in _SYSTEMS:
        return Platform(word, "amd64", "")
    architecture, variant = _normal(word, "")
    if architecture in _ARCHITECTURES:
        return Platform("linux", architecture, variant)
    raise DockerfileError(
        f'"{text}" is no operating system or architecture',
        hint=did_you_mean(word, (*_SYSTEMS, *_ARCHITECTURES)) or "write it like linux/amd64",
    )


def _normal(architecture: str, variant: str) -> tuple[str, str]:
    if architecture in ("armhf", "armel"):
        return "arm", "v7" if architecture == "armhf" else "v6"
    if architecture == "arm":
        variant = variant or "v7"
    if (architecture, variant) in _PLAIN_VARIANTS:
        return architecture, ""
    return architecture, f"v{variant}" if variant.isdigit() else variant


@lru_cache(maxsize=64)
def platform_args(platform: str, build_platform: str, stage: str) -> Mapping[str, str]:
    """The args that are there without ``ARG`` before FROM, and by ``ARG NAME`` in a stage."""
    build, target = parse_platform(build_platform), parse_platform(platform)
    return {
        "BUILDPLATFORM": str(build),
        "BUILDOS": build.system,
        "BUILDOSVERSION": "",
        "BUILDARCH": build.architecture,
        "BUILDVARIANT": build.variant,
        "TARGETPLATFORM": str(target),
        "TARGETOS": target.system,
        "TARGETOSVERSION": "",
        "TARGETARCH": target.architecture,
        "TARGETVARIANT": target.variant,
        "TARGETSTAGE": stage or "default",
    }


# -- stages ------------------------------------------------------------------------------------


SCRATCH = "scratch"
_NUMBER = re.compile(r"[+-]?[0-9]+")


class GlobalArgs(Struct, frozen=True, kw_only=True):
    """The ARGs before the first FROM with BuildKit's own.

    ``reads``: for each declared one the args that its default names.
    """

    values: Mapping[str, str]
    reads: Mapping[str, frozenset[str]]


class StageBase(Struct, frozen=True, kw_only=True):
    """What a stage starts from: an earlier stage, ``scratch`` (no stage, no text), or an image.

    ``args``: the global args that the line names, directly or through their defaults.
    """

    text: str | None
    stage: int | None
    location: Location
    args: frozenset[str]


def global_args(
    dockerfile: Dockerfile, build_args: Mapping[str, str], platform: str, build_platform: str
) -> GlobalArgs:
    values = dict(platform_args(platform, build_platform, dockerfile.stages[-1].name))
    values.update((name, build_args[name]) for name in build_args.keys() & values.keys())
    reads: dict[str, frozenset[str]] = {}
    for instruction in dockerfile.args:
        for word in instruction.arguments:
            name, equals, default = word.partition("=")
            reads[name] = frozenset()
            if name in build_args:
                values[name] = build_args[name]
            elif equals:
                where = Location(dockerfile.path, instruction.line)
                expansion = _expand(default, values, dockerfile.escape, where)
                values[name] = expansion.text
                reads[name] = expansion.read - {name}
    return GlobalArgs(values=values, reads=reads)


def bases_of(dockerfile: Dockerfile, args: GlobalArgs) -> tuple[StageBase, ...]:
    """The base of every stage, in order."""
    names: dict[str, int] = {}
    bases: list[StageBase] = []
    for stage in dockerfile.stages:
        bases.append(_base(dockerfile, stage, args, names))
        if stage.name:
            names[stage.name] = stage.index
    return tuple(bases)


def _base(
    dockerfile: Dockerfile, stage: Stage, args: GlobalArgs, names: dict[str, int]
) -> StageBase:
    where = Location(dockerfile.path, stage.line)
    expansion = _from_word(stage.base, dockerfile.escape, args, where)
    read = expansion.read
    if stage.platform:
        read |= _check_platform(stage.platform, dockerfile.escape, args, where)
    text: str | None = expansion.text
    index = names.get(expansion.text)
    if index is None and expansion.text.lower() in names:
        raise DockerfileError(
            f'FROM "{text}" is not the stage "{expansion.text.lower()}": case counts here',
            where=where,
            hint=f"write FROM {expansion.text.lower()}",
        )
    if index is not None or text == SCRATCH:
        text = None
    return StageBase(text=text, stage=index, location=where, args=_closure(read, args.reads))


def _from_word(text: str, escape: str, args: GlobalArgs, where: Location) -> Expansion:
    expansion = _expand(text, args.values, escape, where)
    if expansion.blank:
        name = min(expansion.blank)
        remedy = f"ARG {name}=… before the first FROM"
        raise DockerfileError(
            f"FROM uses ${{{name}}}, which has no value",
            where=where,
            hint=f"pass the build arg {name}, or give it a default: {remedy}"
            if name in args.reads
            else f"only args from before the first FROM count here: declare it with {remedy}",
        )
    if not expansion.text:
        raise DockerfileError(
            f"FROM {text} comes to nothing", where=where, hint="name an image, a stage or scratch"
        )
    return expansion


def _check_platform(text: str, escape: str, args: GlobalArgs, where: Location) -> frozenset[str]:
    expansion = _from_word(text, escape, args, where)
    try:
        parse_platform(expansion.text)
    except DockerfileError as error:
        raise placed(error, where) from None
    return expansion.read


def _expand(text: str, env: Mapping[str, str], escape: str, where: Location) -> Expansion:
    try:
        return expand(text, env, escape)
    except WordError as error:
        raise DockerfileError(error.message, where=where, hint=error.hint) from None


def _closure(names: frozenset[str], reads: Mapping[str, frozenset[str]]) -> frozenset[str]:
    found: set[str] = set()
    waiting = list(names)
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting.extend(reads.get(name, ()))
    return frozenset(found)


class StageNames:
    """Finds stages by name, whatever its case, or by number; of two equal names the last counts."""

    def __init__(self, dockerfile: Dockerfile) -> None:
        self._path = dockerfile.path
        self._count = len(dockerfile.stages)
        self._names = {stage.name: stage.index for stage in dockerfile.stages if stage.name}

    def target(self, target: str | None) -> int:
        if target is None:
            return self._count - 1
        found = self.by_name(target)
        if found is None and target.isdecimal() and int(target) < self._count:
            found = int(target)
        if found is None:
            known = ", ".join(self._names) or "none of its stages has a name"
            raise DockerfileError(
                f'there is no stage "{target}"',
                where=Location(self._path),
                hint=did_you_mean(target.lower(), self._names) or f"the stages are: {known}",
            )
        return found

    def by_name(self, name: str) -> int | None:
        return self._names.get(name.lower())

    def by_name_or_number(self, name: str) -> int | None:
        """The stage that COPY --from means; None where it means an image."""
        if not _NUMBER.fullmatch(name):
            return self.by_name(name)
        number = int(name)
        if not 0 <= number < self._count:
            raise DockerfileError(
                f"there is no stage {name}",
                hint=f"the stages have the numbers 0 to {self._count - 1}",
            )
        return number


# -- the graph of stages -----------------------------------------------------------------------


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
        bases: tuple[StageBase, ...],
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

    def image(self, base: StageBase) -> Inherited:
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
