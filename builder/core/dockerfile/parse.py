"""Parses a Dockerfile by BuildKit's rules, and gives bases in it other names.

The rules are those of
https://github.com/moby/buildkit/blob/master/frontend/dockerfile/instructions/parse.go
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence

from builder.core.dockerfile import grammar
from builder.core.dockerfile.arguments import read_heredocs, split_command
from builder.core.dockerfile.lines import DockerfileLines, LogicalLine, placed
from builder.core.dockerfile.model import BaseUse, Dockerfile, Heredoc, Instruction, Stage
from builder.core.errors import DockerfileError, Location

_NEVER_TRIGGERS = {
    "ONBUILD": "an ONBUILD cannot hold another ONBUILD",
    "FROM": "FROM cannot be a trigger",
    "MAINTAINER": "MAINTAINER cannot be a trigger",
}


def parse(data: bytes, path: str) -> Dockerfile:
    """The Dockerfile in ``data``; ``path`` is how messages name it.

    Raises:
        DockerfileError: with the line and the remedy.

    """
    lines = DockerfileLines(data, path)
    instructions = list(_instructions(lines))
    if not instructions:
        raise DockerfileError(
            "the Dockerfile is empty" if not data else "the Dockerfile holds no instruction",
            where=Location(path),
            hint="it has to start with FROM",
        )
    args, stages = _stages(instructions, path)
    return Dockerfile(
        path=path,
        escape=lines.escape,
        syntax=lines.syntax,
        check=lines.check,
        args=args,
        stages=stages,
    )


def _instructions(lines: DockerfileLines) -> Iterator[Instruction]:
    while (line := lines.next()) is not None:
        yield _located(line, lines)


def _located(line: LogicalLine, lines: DockerfileLines) -> Instruction:
    try:
        return _instruction(line, lines)
    except DockerfileError as error:
        raise placed(error, Location(lines.path, line.line)) from None


def _instruction(
    line: LogicalLine, lines: DockerfileLines, *, escape: str = "", trigger: bool = False
) -> Instruction:
    escape = escape or lines.escape
    command = split_command(line.text, escape)
    keyword = command.keyword.upper()
    rule = grammar.rule_for(command.keyword)
    if trigger and keyword in _NEVER_TRIGGERS:
        raise DockerfileError(_NEVER_TRIGGERS[keyword], hint="remove it")
    if command.flags:
        grammar.check_flags(command, rule)
    words, json, legacy = rule.read(command.rest, escape)
    inner = None
    heredocs: tuple[Heredoc, ...] = ()
    end = line.end_line
    if keyword == "ONBUILD" and words:
        # The trigger is recorded as text and read again without the directives of this file.
        inner = _instruction(line._replace(text=command.rest), lines, escape="\\", trigger=True)
        end = inner.end_line
    elif keyword in grammar.HEREDOC_KEYWORDS and not json:
        heredocs, last = read_heredocs(line.text, lines, line.line)
        end = last or end
    instruction = Instruction(
        keyword=keyword,
        flags=command.flags,
        arguments=words,
        json=json,
        legacy=legacy,
        heredocs=heredocs,
        source=line.text,
        line=line.line,
        end_line=end,
        trigger=inner,
    )
    grammar.check_arguments(instruction, rule, escape)
    return instruction


def _stages(
    instructions: list[Instruction], path: str
) -> tuple[tuple[Instruction, ...], tuple[Stage, ...]]:
    """The ARGs before the first FROM, and the stages."""
    starts = [at for at, each in enumerate(instructions) if each.keyword == "FROM"]
    if not starts:
        raise DockerfileError(
            "the Dockerfile has no FROM",
            where=Location(path, instructions[0].line),
            hint="start it with FROM image",
        )
    args = instructions[: starts[0]]
    for instruction in args:
        if instruction.keyword != "ARG":
            raise DockerfileError(
                f"{instruction.keyword} stands before the first FROM",
                where=Location(path, instruction.line),
                hint="only ARG may; put FROM above it",
            )
    ends = [*starts[1:], len(instructions)]
    stages = tuple(
        _stage(index, instructions[start], tuple(instructions[start + 1 : end]))
        for index, (start, end) in enumerate(zip(starts, ends, strict=True))
    )
    return tuple(args), stages


def _stage(index: int, start: Instruction, instructions: tuple[Instruction, ...]) -> Stage:
    base, *name = start.arguments
    platform = next((flag.value or "" for flag in start.flags), "")
    return Stage(
        index=index,
        name=name[1].lower() if name else "",
        base=base,
        platform=platform,
        instructions=instructions,
        line=start.line,
    )


# -- names ---------------------------------------------------------------------------------------


def renamed(data: bytes, path: str, uses: Iterable[BaseUse], names: Mapping[str, str]) -> bytes:
    """The text with these bases under other names; each instruction stays in its lines.

    Raises:
        DockerfileError: a name that is not written in this file, or not where it is used.

    """
    lines = data.split(b"\n")
    instructions = {each.line: each for each in _instructions(DockerfileLines(data, path))}
    for use in uses:
        if use.text not in names:
            continue
        found = instructions.get(use.location.line or 0) if use.location.path == path else None
        changed = None if found is None else _with_name(lines, found, use.text, names[use.text])
        if found is None or changed is None:
            raise DockerfileError(
                f'"{use.text}" is the name of a stage and that of an image',
                where=use.location,
                hint="give the stage another name",
            )
        lines[found.line - 1 : found.end_line] = changed
    return b"\n".join(lines)


def _with_name(
    lines: Sequence[bytes], instruction: Instruction, old: str, new: str
) -> list[bytes] | None:
    """The lines of an instruction that names the image otherwise."""
    written = lines[instruction.line - 1 : instruction.end_line]
    if instruction.keyword == "FROM":
        words = [f"--{flag.name}={flag.value}" for flag in instruction.flags]
        words += [new, *instruction.arguments[1:]]
        return [" ".join(["FROM", *words]).encode(), *[b""] * (len(written) - 1)]
    # Flags come before all else, so that a text in a here-document is not meant.
    pattern = rb"(\bfrom=)" + re.escape(old.encode()) + rb"(?=[\s,\"\\]|$)"
    named = sum(f"from={old}" in f"{flag.name}={flag.value}" for flag in instruction.flags)
    text, count = re.subn(pattern, rb"\g<1>" + new.encode(), b"\n".join(written), count=named)
    return text.split(b"\n") if count else None
