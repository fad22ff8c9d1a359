"""Finds the instruction that an engine speaks of in the Dockerfile it came from."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from pathlib import Path

from builder.core.dockerfile.model import Dockerfile, Instruction, Stage
from builder.core.dockerfile.parse import parse
from builder.core.errors import InputError

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


def line_in_file(command: str, path: Path, label: str) -> int | None:
    """The same for a Dockerfile that still has to be read; None where that fails."""
    dockerfile = read_dockerfile(path, label)
    return None if dockerfile is None else line_of_command(command, dockerfile)


def read_dockerfile(path: Path, label: str) -> Dockerfile | None:
    """The Dockerfile, or None: a message about a failed build must not fail in its turn."""
    try:
        return parse(path.read_bytes(), label)
    except (OSError, InputError):
        return None


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
