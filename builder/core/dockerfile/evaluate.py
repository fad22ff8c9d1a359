"""Evaluates a Dockerfile for one target: what building it needs, reads and yields.

https://docs.docker.com/reference/dockerfile/ says what each instruction does when its stage is
built; as BuildKit does it:
https://github.com/moby/buildkit/blob/master/frontend/dockerfile/dockerfile2llb/convert.go
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence

from msgspec import Struct, field

from builder.core.dockerfile.arguments import opens_heredoc
from builder.core.dockerfile.grammar import switched_on
from builder.core.dockerfile.lines import placed
from builder.core.dockerfile.model import (
    BaseUse,
    ContextRead,
    Dockerfile,
    Flag,
    Inherited,
    Instruction,
    Mount,
    Needs,
    Via,
    is_git,
    is_remote,
    is_whole_context,
    parse_mount,
)
from builder.core.dockerfile.scope import Scope, Value
from builder.core.dockerfile.stages import (
    SCRATCH,
    GlobalArgs,
    StageBase,
    StageGraph,
    StageNames,
    Step,
    bases_of,
    global_args,
)
from builder.core.errors import DockerfileError, Location

_FEATURE_FLAGS = {
    "RUN": ("mount", "network", "security", "device"),
    "COPY": ("chmod", "link", "parents", "exclude"),
    "ADD": ("chmod", "link", "exclude", "checksum", "keep-git-dir", "unpack"),
}
_EXPANDED_FLAGS = ("chown", "chmod", "checksum")


class Findings(Struct, kw_only=True):
    """What the stages of one target ask for, gathered in order of appearance."""

    bases: dict[tuple[str, Via, int], BaseUse] = field(default_factory=dict)
    reads: list[ContextRead] = field(default_factory=list)
    remote: dict[str, None] = field(default_factory=dict)
    args: dict[str, str] = field(default_factory=dict)
    features: set[str] = field(default_factory=set)

    def use(self, text: str, via: Via, stage: int, location: Location) -> None:
        if text != SCRATCH:
            use = BaseUse(text=text, via=via, stage=stage, location=location)
            self.bases.setdefault((text, via, stage), use)


class Surroundings(Struct, frozen=True, kw_only=True):
    """What all stages of one evaluation share."""

    path: str
    build_args: Mapping[str, str]
    global_args: Mapping[str, str]
    names: StageNames
    findings: Findings


class StageRun:
    """Runs the steps of one stage against its scope."""

    def __init__(self, stage: int, scope: Scope, around: Surroundings) -> None:
        self._stage = stage
        self._scope = scope
        self._around = around
        self._found = around.findings
        self._effects: Mapping[str, Callable[[Step], None]] = {
            "ADD": self._add,
            "ARG": self._arg,
            "COPY": self._copy,
            "ENV": self._env,
            "EXPOSE": self._expose,
            "HEALTHCHECK": self._healthcheck,
            "LABEL": self._label,
            "ONBUILD": self._onbuild,
            "RUN": self._run,
            "STOPSIGNAL": self._check_variables,
            "USER": self._check_variables,
            "VOLUME": self._check_variables,
            "WORKDIR": self._check_variables,
        }

    def run(self, steps: Sequence[Step]) -> None:
        for step in steps:
            effect = self._effects.get(step.instruction.keyword)
            if effect is not None:
                try:
                    effect(step)
                except DockerfileError as error:
                    raise placed(error, self._place(step)) from None

    def _place(self, step: Step) -> Location:
        return Location(self._around.path, step.line)

    def _env(self, step: Step) -> None:
        for name, value in self._pairs(step.instruction):
            if not name.known:
                raise DockerfileError(
                    f'the name "{name.text}" depends on the base image, whose ENV is not known',
                    hint="write the name out, or give the variable a value here",
                )
            self._scope.set_env(name.text, value)

    def _label(self, step: Step) -> None:
        for name, value in self._pairs(step.instruction):
            self._scope.labels[name.text] = value.text
            self._scope.own_labels[name.text] = self._place(step)

    def _pairs(self, instruction: Instruction) -> list[tuple[Value, Value]]:
        """All pairs expanded before the first of them takes effect."""
        expand = self._scope.expand
        found: list[tuple[Value, Value]] = []
        for word in instruction.arguments:
            name, _, value = word.partition("=")
            found.append((expand(name), expand(value)))
        return found

    def _arg(self, step: Step) -> None:
        earlier: set[str] = set()
        for word in step.instruction.arguments:
            name, equals, default = word.partition("=")
            value = self._arg_value(name, default if equals else None, earlier)
            earlier.add(name)
            if value is not None:
                self._scope.set_arg(name, value)
                self._found.args[name] = value.text

    def _arg_value(self, name: str, default: str | None, earlier: set[str]) -> Value | None:
        if name in self._around.build_args:
            return Value(self._around.build_args[name], known=True)
        if default is None:
            text = self._around.global_args.get(name)
            return None if text is None else Value(text, known=True)
        value = self._scope.expand(default)
        if not earlier.isdisjoint(value.read):
            raise DockerfileError(
                f"the default of {name} names an arg of the same ARG; engines differ in this",
                hint="put them on two ARG lines",
            )
        return value

    def _check_variables(self, step: Step) -> None:
        for word in step.instruction.arguments:
            self._scope.expand(word)

    def _expose(self, step: Step) -> None:
        for word in step.instruction.arguments:
            self._scope.check_words(word)

    def _healthcheck(self, step: Step) -> None:
        if any(flag.name == "start-interval" for flag in step.instruction.flags):
            self._found.features.add("healthcheck-start-interval")

    def _onbuild(self, step: Step) -> None:
        trigger = step.instruction.trigger
        if trigger is not None and trigger.heredocs:
            self._found.features.add("heredoc")

    def _run(self, step: Step) -> None:
        self._note_features(step.instruction)
        for flag in step.instruction.flags:
            if flag.name == "mount":
                self._mount(flag.value or "", self._place(step))

    def _mount(self, written: str, location: Location) -> None:
        known = True

        def expand(text: str) -> str:
            nonlocal known
            value = self._scope.expand(text)
            known = known and value.known
            return value.text

        mount = parse_mount(written, expand)
        if mount.kind in ("secret", "ssh"):
            self._found.features.add(mount.kind)
        if mount.origin:
            if self._around.names.by_name(mount.origin) is None:
                self._found.use(mount.origin, Via.RUN, self._stage, location)
        elif mount.kind == "bind":
            self._found.reads.append(_mounted(mount, location, known=known))

    def _copy(self, step: Step) -> None:
        self._note_features(step.instruction)
        origin = _value_of("from", step.instruction.flags)
        values = self._sources(step.instruction)
        for value in values:
            if value.known and is_remote(value.text):
                raise DockerfileError(
                    f'COPY cannot take "{value.text}" from the network', hint="use ADD"
                )
        if not origin:
            self._read(Via.COPY, step, values)
        elif self._around.names.by_name_or_number(origin) is None:
            self._found.use(origin, Via.COPY, self._stage, self._place(step))
            if origin != SCRATCH:
                self._found.features.add("copy-from-image")

    def _add(self, step: Step) -> None:
        self._note_features(step.instruction)
        local: list[Value] = []
        for value in self._sources(step.instruction):
            if is_remote(value.text):
                self._found.remote[value.text] = None
                if is_git(value.text):
                    self._found.features.add("git")
            else:
                local.append(value)
        self._read(Via.ADD, step, local)

    def _sources(self, instruction: Instruction) -> list[Value]:
        """The expanded sources but here-documents; raises what the other parts are guilty of."""
        for flag in instruction.flags:
            if flag.name in _EXPANDED_FLAGS:
                self._scope.expand(flag.value or "")
        for document in instruction.heredocs:
            if document.expand:
                self._scope.expand_document(document.content)
        *written, target = instruction.arguments
        self._scope.expand(target)
        return [self._scope.expand(word) for word in written if not opens_heredoc(word)]

    def _read(self, via: Via, step: Step, values: Sequence[Value]) -> None:
        if not values:
            return
        flags = step.instruction.flags
        self._found.reads.append(
            ContextRead(
                via=via,
                sources=tuple(value.text for value in values),
                exclude=tuple(flag.value or "" for flag in flags if flag.name == "exclude"),
                parents=any(flag.name == "parents" and switched_on(flag) for flag in flags),
                whole=any(not value.known or is_whole_context(value.text) for value in values),
                location=self._place(step),
            )
        )

    def _note_features(self, instruction: Instruction) -> None:
        if instruction.heredocs:
            self._found.features.add("heredoc")
        for flag in instruction.flags:
            if flag.name in _FEATURE_FLAGS[instruction.keyword]:
                self._found.features.add(flag.name)


def _value_of(name: str, flags: Sequence[Flag]) -> str:
    return next((flag.value or "" for flag in flags if flag.name == name), "")


def _mounted(mount: Mount, location: Location, *, known: bool) -> ContextRead:
    return ContextRead(
        via=Via.RUN,
        sources=(mount.source,),
        whole=not known or is_whole_context(mount.source),
        location=location,
    )


# -- a target ----------------------------------------------------------------------------------


# Args that change an image although no ARG names them.
_ALWAYS_READ = ("SOURCE_DATE_EPOCH", "BUILDKIT_SYNTAX", "BUILDKIT_SANDBOX_HOSTNAME")
_USUAL_FRONTEND = re.compile(
    r"(?:docker\.io/)?docker/dockerfile(?:-upstream(?::[\w.-]+)?"
    r"|(?::(?:1(?:[.-][\w.-]*)?|latest|labs|experimental|master))?)(?:@sha256:[0-9a-f]{64})?"
)


def evaluate(
    dockerfile: Dockerfile,
    *,
    build_args: Mapping[str, str],
    target: str | None = None,
    platform: str = "linux/amd64",
    build_platform: str | None = None,
    inherited: Callable[[str], Inherited | None],
) -> Needs:
    """What building ``target`` (by default the last stage) asks for and yields.

    ``inherited`` is given the expanded FROM of a needed stage and tells what that image hands on,
    or None where that is not known. ``build_platform`` is where the engine runs, by default the
    platform that is built for.

    Raises:
        DockerfileError: the file cannot be built as it is, with the line and the remedy.

    """
    args = global_args(dockerfile, build_args, platform, build_platform or platform)
    graph = StageGraph(dockerfile, bases_of(dockerfile, args), inherited)
    goal = graph.names.target(target)
    needed = graph.needed(goal)
    findings = Findings()
    around = Surroundings(
        path=dockerfile.path,
        build_args=build_args,
        global_args=args.values,
        names=graph.names,
        findings=findings,
    )
    _find_frontend(dockerfile, build_args, findings)
    scopes: dict[int, Scope] = {}
    for index in needed:
        base = graph.bases[index]
        if base.text is not None:
            findings.use(base.text, Via.FROM, index, base.location)
        if dockerfile.stages[index].platform:
            findings.features.add("platform")
        scopes[index] = _first_scope(graph, base, scopes, dockerfile.escape)
        StageRun(index, scopes[index], around).run(graph.steps(index))
    scope = scopes[goal]
    return Needs(
        target=goal,
        base=graph.base(goal),
        stages=needed,
        bases=tuple(findings.bases.values()),
        reads=tuple(findings.reads),
        remote=tuple(findings.remote),
        args=_args_in_force(graph, needed, args, build_args, findings),
        env=scope.env,
        labels=scope.labels,
        own_labels=scope.own_labels,
        onbuild=graph.triggers(goal),
        features=frozenset(findings.features),
        complete=scope.complete,
        unknown=scope.unknown,
    )


def _first_scope(
    graph: StageGraph, base: StageBase, scopes: Mapping[int, Scope], escape: str
) -> Scope:
    """What a stage sees when it begins: of its image, or of the stage that it is built on."""
    return Scope(graph.image(base), escape) if base.stage is None else scopes[base.stage].child()


def _find_frontend(
    dockerfile: Dockerfile, build_args: Mapping[str, str], findings: Findings
) -> None:
    frontend = build_args.get("BUILDKIT_SYNTAX", dockerfile.syntax)
    if not is_usual_frontend(frontend):
        findings.features.add("syntax")


def is_usual_frontend(name: str) -> bool:
    """Whether a ``# syntax=`` names Docker's own frontend, or nothing."""
    return not name or _USUAL_FRONTEND.fullmatch(name) is not None


def _args_in_force(
    graph: StageGraph,
    needed: Sequence[int],
    args: GlobalArgs,
    build_args: Mapping[str, str],
    findings: Findings,
) -> Mapping[str, str]:
    """The args of needed stages, then those that a needed FROM names, then BuildKit's own."""
    found = {name: build_args[name] for name in _ALWAYS_READ if name in build_args}
    for index in needed:
        for name in sorted(graph.bases[index].args):
            if name in args.values:
                found[name] = args.values[name]
    return {**found, **findings.args}
