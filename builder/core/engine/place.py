"""Finds in a Dockerfile the instruction that an engine speaks of, and those that it cannot do."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence

from builder.core.dockerfile.model import FEATURES, Dockerfile, Instruction, Stage
from builder.core.engine.failure import BuildFailedError, describe, reported_line
from builder.core.engine.request import BuildRequest

# Below this, two texts are not one instruction whose variables were expanded.
_ALIKE = 0.6


def line_of_command(command: str, dockerfile: Dockerfile) -> int | None:
    """The line of the instruction that an engine calls ``command``.

    BuildKit joins the lines of an instruction and expands what variables it knows, so the text is
    the nearest, not the same. None where nothing comes near or two come equally near.
    """
    keyword, _, _ = command.partition(" ")
    wanted = _squashed(command, dockerfile.escape)
    scored: list[tuple[float, int]] = []
    for line, source in _instructions(dockerfile):
        text = _squashed(source, dockerfile.escape)
        if text == wanted:
            return line
        if text.partition(" ")[0].upper() == keyword.upper():
            ratio = difflib.SequenceMatcher(None, wanted, text, autojunk=False).ratio()
            scored.append((ratio, line))
    scored.sort(reverse=True)
    if not scored or scored[0][0] < _ALIKE:
        return None
    if len(scored) > 1 and scored[0][0] == scored[1][0]:
        return None
    return scored[0][1]


def line_of_step(number: int, dockerfile: Dockerfile) -> int | None:
    """The line of step ``number`` (from 1) as the classic builder counts: every instruction."""
    lines = [line for line, _ in _instructions(dockerfile)]
    return lines[number - 1] if 0 < number <= len(lines) else None


def line_of_feature(feature: str, dockerfile: Dockerfile) -> int | None:
    """The line of the first instruction that needs the feature (a key of FEATURES)."""
    if feature == "syntax":
        return 1 if dockerfile.syntax else None
    for stage in dockerfile.stages:
        if feature == "platform" and stage.platform:
            return stage.line
        for instruction in stage.instructions:
            if _needs(instruction, feature):
                return instruction.line
    return None


def lacking(
    request: BuildRequest, lacks: Iterable[str], *, every_stage: bool = False
) -> str | None:
    """A sentence about the first feature in use that the engine lacks; None if it lacks none.

    ``every_stage`` is for an engine that builds stages which the target does not need.
    """
    for feature in sorted(lacks):
        line = line_of_feature(feature, request.parsed)
        if feature in request.features or (every_stage and line is not None):
            place = f"line {line}" if line else "it"
            return f"{place} needs {FEATURES[feature]}, which this engine lacks"
    return None


def failure_of(
    request: BuildRequest,
    error: str,
    *,
    said: str = "",
    step: int | None = None,
    command: str | None = None,
    log: Sequence[str] = (),
) -> BuildFailedError:
    """The failure of a build with its line: as the engine names it, else of step or command.

    ``said`` is all that the engine printed, if that is more than the error.
    """
    line = reported_line(said or error)
    if line is None and step is not None:
        line = line_of_step(step, request.parsed)
    elif line is None and command is not None:
        line = line_of_command(command, request.parsed)
    return describe(error, label=request.dockerfile_label, line=line, command=command, log=log)


def _needs(instruction: Instruction, feature: str) -> bool:
    if feature == "heredoc":
        return bool(instruction.heredocs)
    if feature in ("secret", "ssh"):
        wanted = f"type={feature}"
        return any(
            flag.name == "mount" and wanted in (flag.value or "").split(",")
            for flag in instruction.flags
        )
    if feature == "copy-from-image":
        return any(flag.name == "from" for flag in instruction.flags)
    if feature == "git":
        return instruction.keyword == "ADD" and ".git" in instruction.source
    name = feature.removeprefix("healthcheck-")
    return any(flag.name == name for flag in instruction.flags)


def _instructions(dockerfile: Dockerfile) -> Iterable[tuple[int, str]]:
    for argument in dockerfile.args:
        yield argument.line, argument.source
    for stage in dockerfile.stages:
        yield stage.line, _from(stage)
        for instruction in stage.instructions:
            yield instruction.line, instruction.source


def _from(stage: Stage) -> str:
    platform = f"--platform={stage.platform} " if stage.platform else ""
    name = f" AS {stage.name}" if stage.name else ""
    return f"FROM {platform}{stage.base}{name}"


def _squashed(text: str, escape: str) -> str:
    """One line, one blank between words, without what joins lines."""
    return " ".join(text.replace(f"{escape}\r\n", " ").replace(f"{escape}\n", " ").split())
