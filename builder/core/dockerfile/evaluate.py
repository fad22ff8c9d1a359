"""Evaluates a Dockerfile for one target: what building it needs, reads and yields."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from builder.core.dockerfile.effects import Findings, StageRun, Surroundings
from builder.core.dockerfile.model import Dockerfile, Inherited, Needs, Via
from builder.core.dockerfile.scope import Scope
from builder.core.dockerfile.stage_graph import StageGraph
from builder.core.dockerfile.stages import GlobalArgs, bases_of, global_args
from builder.core.errors import Location

# Args that change an image although no ARG names them.
_ALWAYS_READ = ("SOURCE_DATE_EPOCH", "BUILDKIT_SYNTAX")
_USUAL_FRONTEND = re.compile(
    r"(?:docker\.io/)?docker/dockerfile(?:-upstream(?::[\w.-]+)?"
    r"|(?::(?:1(?:[.-][\w.-]*)?|latest|labs|experimental|master))?)(?:@sha256:[0-9a-f]{64})?"
)


class BaseName(NamedTuple):
    """The FROM of one stage; ``text`` is None for a stage of the same file and for scratch."""

    stage: int
    text: str | None
    location: Location


def from_names(
    dockerfile: Dockerfile,
    *,
    build_args: Mapping[str, str],
    platform: str = "linux/amd64",
    build_platform: str | None = None,
) -> tuple[BaseName, ...]:
    """The expanded FROM of each stage; needs only the ARGs before the first of them.

    Raises:
        DockerfileError: a FROM cannot be expanded.

    """
    args = global_args(dockerfile, build_args, platform, build_platform or platform)
    return tuple(
        BaseName(index, base.text, base.location)
        for index, base in enumerate(bases_of(dockerfile, args))
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
        scopes[index] = (
            Scope(graph.image(base), dockerfile.escape)
            if base.stage is None
            else scopes[base.stage].child()
        )
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
        onbuild=graph.triggers(goal),
        features=frozenset(findings.features),
        complete=scope.complete,
        unknown=scope.unknown,
    )


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
