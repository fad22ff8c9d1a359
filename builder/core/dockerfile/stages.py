"""The FROM lines of a file, expanded, and the names by which its stages refer to each other."""

from __future__ import annotations

import re
from collections.abc import Mapping

from msgspec import Struct

from builder.core.dockerfile.blame import placed
from builder.core.dockerfile.model import Dockerfile, Stage
from builder.core.dockerfile.platforms import parse_platform, platform_args
from builder.core.dockerfile.words import Expansion, WordError, expand
from builder.core.errors import DockerfileError, Location, did_you_mean

SCRATCH = "scratch"
_NUMBER = re.compile(r"[+-]?[0-9]+")


class GlobalArgs(Struct, frozen=True, kw_only=True):
    """The ARGs before the first FROM with BuildKit's own.

    ``reads``: for each declared one the args that its default names.
    """

    values: Mapping[str, str]
    reads: Mapping[str, frozenset[str]]


class Base(Struct, frozen=True, kw_only=True):
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


def bases_of(dockerfile: Dockerfile, args: GlobalArgs) -> tuple[Base, ...]:
    """The base of every stage, in order."""
    names: dict[str, int] = {}
    bases: list[Base] = []
    for stage in dockerfile.stages:
        bases.append(_base(dockerfile, stage, args, names))
        if stage.name:
            names[stage.name] = stage.index
    return tuple(bases)


def _base(dockerfile: Dockerfile, stage: Stage, args: GlobalArgs, names: dict[str, int]) -> Base:
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
    return Base(text=text, stage=index, location=where, args=_closure(read, args.reads))


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
