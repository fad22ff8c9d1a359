"""What each instruction may hold: its flags, the shape of its arguments and how many there are.

https://docs.docker.com/reference/dockerfile/ describes them; what counts is
https://github.com/moby/buildkit/blob/master/frontend/dockerfile/instructions/parse.go
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from enum import Enum

from msgspec import Struct, field

from builder.core.dockerfile import arguments
from builder.core.dockerfile.arguments import Arguments, Command, opens_heredoc
from builder.core.dockerfile.model import Flag, Instruction, origin_of
from builder.core.dockerfile.words import WordError, expand
from builder.core.errors import DockerfileError, did_you_mean


class FlagKind(Enum):
    """What a flag takes."""

    SWITCH = "a switch"
    VALUE = "one value"
    VALUES = "a value each time"


class InstructionRule(Struct, frozen=True, kw_only=True):
    """``check`` looks at the finished instruction and is given the escape character."""

    read: Callable[[str, str], Arguments]
    flags: Mapping[str, FlagKind] = field(default_factory=dict)
    least: int = 0
    most: int | None = None
    check: Callable[[Instruction, str], None] | None = None


_DURATION = re.compile(r"[+-]?(?:0|(?:(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:ns|us|µs|μs|ms|s|m|h))+)")
_TOO_SHORT = re.compile(r"\+?(?:[0-9.]+(?:ns|us|µs|μs))+")
_RETRIES = re.compile(r"\+?[0-9]+")
_NOT_IN_NAMES = re.compile(r"""[$"'\\`]""")
_STAGE_NAME = re.compile(r"[a-z][a-z0-9_.-]*")
_FROM_WORDS = (1, 3)


def rule_for(keyword: str) -> InstructionRule:
    rule = RULES.get(keyword.upper())
    if rule is None:
        raise DockerfileError(
            f'"{keyword}" is no instruction',
            hint=did_you_mean(keyword.upper(), RULES)
            or "an instruction that goes on in the next line needs the escape character at its end",
        )
    return rule


def check_flags(command: Command, rule: InstructionRule) -> None:
    keyword = command.keyword.upper()
    seen: set[str] = set()
    for flag in command.flags:
        kind = rule.flags.get(flag.name)
        if kind is None:
            raise DockerfileError(
                f"{keyword} has no flag --{flag.name}",
                hint=did_you_mean(flag.name, rule.flags) or _all_flags(rule),
            )
        if flag.name in seen and kind is not FlagKind.VALUES:
            raise DockerfileError(f"{keyword} has --{flag.name} twice", hint="keep one of them")
        seen.add(flag.name)
        _check_value(flag, kind)


def _check_value(flag: Flag, kind: FlagKind) -> None:
    if kind is FlagKind.SWITCH:
        if flag.value is not None and flag.value.lower() not in ("true", "false"):
            raise DockerfileError(
                f'--{flag.name}="{flag.value}" is not possible', hint="it is true or false"
            )
    elif flag.value is None:
        raise DockerfileError(f"--{flag.name} has no value", hint=f"write --{flag.name}=value")


def _all_flags(rule: InstructionRule) -> str:
    if not rule.flags:
        return "it takes no flags; quote a word that starts with --, or put -- before it"
    return f"its flags are {', '.join(f'--{name}' for name in rule.flags)}"


def check_arguments(instruction: Instruction, rule: InstructionRule, escape: str) -> None:
    count = len(instruction.arguments)
    if count < rule.least or (rule.most is not None and count > rule.most):
        raise DockerfileError(
            f"{instruction.keyword} has {count or 'no'} argument{'' if count == 1 else 's'}",
            hint=_arity(rule),
        )
    if rule.check is not None:
        rule.check(instruction, escape)


def _arity(rule: InstructionRule) -> str:
    if rule.least == rule.most:
        return "it takes exactly one" if rule.least == 1 else f"it takes {rule.least}"
    return "it takes at least " + ("one" if rule.least == 1 else "a source and a destination")


def switched_on(flag: Flag) -> bool:
    """Whether a switch is on; a bare one is."""
    return flag.value is None or flag.value.lower() == "true"


def _from(instruction: Instruction, _escape: str) -> None:
    words = instruction.arguments
    if len(words) not in _FROM_WORDS or (len(words) > 1 and words[1].lower() != "as"):
        raise DockerfileError(
            f'"{instruction.source}" is no FROM', hint="write FROM image, or FROM image AS name"
        )
    if len(words) > 1 and not _STAGE_NAME.fullmatch(words[2].lower()):
        raise DockerfileError(
            f'"{words[2]}" is no name for a stage',
            hint='it starts with a letter; letters, digits, "-", "_" and "." follow',
        )


def _arg(instruction: Instruction, _escape: str) -> None:
    for word in instruction.arguments:
        name = word.partition("=")[0]
        if not name or _NOT_IN_NAMES.search(name):
            raise DockerfileError(
                f'"{word}" declares no build arg',
                hint="write ARG NAME or ARG NAME=default; the name has no quotes or variables",
            )


def _copy(instruction: Instruction, escape: str) -> None:
    _sources(instruction, escape)
    for flag in instruction.flags:
        if flag.name == "from" and flag.value and not _stands_for_itself(flag.value, escape):
            raise DockerfileError(
                f'--from="{flag.value}": a variable, quote or escape cannot stand in --from',
                hint="name a stage for it: FROM …${VARIABLE}… AS name, then --from=name",
            )


def _stands_for_itself(text: str, escape: str) -> bool:
    try:
        return expand(text, {}, escape).text == text
    except WordError:
        return False


def _sources(instruction: Instruction, _escape: str) -> None:
    *sources, target = instruction.arguments
    if opens_heredoc(target):
        raise DockerfileError(
            f"{instruction.keyword} cannot write to a here-document",
            hint="the last argument is the destination",
        )
    opened = [source for source in sources if opens_heredoc(source)]
    if len({document.name for document in instruction.heredocs}) != len(opened):
        raise DockerfileError(
            f"the here-documents of {instruction.keyword} are not clear",
            hint="write <<NAME as one word without blanks, and give each its own name",
        )


def _run(instruction: Instruction, _escape: str) -> None:
    choices = {"network": ("default", "none", "host"), "security": ("insecure", "sandbox")}
    for flag in instruction.flags:
        value = flag.value or ""
        if flag.name == "mount":
            origin_of(value)
        elif flag.name in choices and value not in choices[flag.name]:
            raise DockerfileError(
                f'--{flag.name}="{value}" is not possible',
                hint=f"it is one of {', '.join(choices[flag.name])}",
            )


def _shell(instruction: Instruction, _escape: str) -> None:
    if not instruction.json:
        raise DockerfileError(
            "SHELL is no JSON array", hint='write it like SHELL ["/bin/bash", "-c"]'
        )


def _volume(instruction: Instruction, _escape: str) -> None:
    if not all(word.strip() for word in instruction.arguments):
        raise DockerfileError("VOLUME has an empty path")


def _healthcheck(instruction: Instruction, _escape: str) -> None:
    kind = instruction.arguments[0].upper()
    if kind not in ("NONE", "CMD"):
        raise DockerfileError(
            f'"{instruction.arguments[0]}" is no health check',
            hint="write HEALTHCHECK CMD command, or HEALTHCHECK NONE",
        )
    has_command = len(instruction.arguments) > 1
    if has_command is (kind == "NONE"):
        raise DockerfileError(
            "HEALTHCHECK NONE takes no command" if has_command else "HEALTHCHECK CMD has no command"
        )
    for flag in instruction.flags:
        _check_health_flag(flag.name, flag.value or "")


def _check_health_flag(name: str, value: str) -> None:
    if not value:
        return
    if name == "retries":
        if not _RETRIES.fullmatch(value):
            raise DockerfileError(f'--retries="{value}" is no number', hint="it is 0 or more")
    elif not _DURATION.fullmatch(value):
        raise DockerfileError(
            f'--{name}="{value}" is no duration', hint="write it like 30s, 1m30s or 500ms"
        )
    elif value.startswith("-") or _TOO_SHORT.fullmatch(value):
        raise DockerfileError(f'--{name}="{value}" is too short', hint="it is 0, or 1ms and more")


_HEALTH_FLAGS = ("interval", "timeout", "start-period", "start-interval", "retries")
_COPY_FLAGS = {
    "chown": FlagKind.VALUE,
    "chmod": FlagKind.VALUE,
    "link": FlagKind.SWITCH,
    "exclude": FlagKind.VALUES,
}
RULES: Mapping[str, InstructionRule] = {
    "ADD": InstructionRule(
        read=arguments.json_or_blank_separated,
        flags={
            **_COPY_FLAGS,
            "keep-git-dir": FlagKind.SWITCH,
            "checksum": FlagKind.VALUE,
            "unpack": FlagKind.SWITCH,
        },
        least=2,
        check=_sources,
    ),
    "ARG": InstructionRule(read=arguments.names_or_pairs, least=1, check=_arg),
    "CMD": InstructionRule(read=arguments.json_or_whole),
    "COPY": InstructionRule(
        read=arguments.json_or_blank_separated,
        flags={**_COPY_FLAGS, "from": FlagKind.VALUE, "parents": FlagKind.SWITCH},
        least=2,
        check=_copy,
    ),
    "ENTRYPOINT": InstructionRule(read=arguments.json_or_whole),
    "ENV": InstructionRule(read=arguments.pairs, least=1),
    "EXPOSE": InstructionRule(read=arguments.blank_separated, least=1),
    "FROM": InstructionRule(
        read=arguments.blank_separated, flags={"platform": FlagKind.VALUE}, check=_from
    ),
    "HEALTHCHECK": InstructionRule(
        read=arguments.health,
        flags=dict.fromkeys(_HEALTH_FLAGS, FlagKind.VALUE),
        least=1,
        check=_healthcheck,
    ),
    "LABEL": InstructionRule(read=arguments.pairs, least=1),
    "MAINTAINER": InstructionRule(read=arguments.whole, least=1, most=1),
    "ONBUILD": InstructionRule(read=arguments.whole, least=1, most=1),
    "RUN": InstructionRule(
        read=arguments.json_or_whole,
        flags={
            "mount": FlagKind.VALUES,
            "network": FlagKind.VALUE,
            "security": FlagKind.VALUE,
            "device": FlagKind.VALUES,
        },
        check=_run,
    ),
    "SHELL": InstructionRule(read=arguments.json_or_whole, least=1, check=_shell),
    "STOPSIGNAL": InstructionRule(read=arguments.whole, least=1, most=1),
    "USER": InstructionRule(read=arguments.whole, least=1, most=1),
    "VOLUME": InstructionRule(read=arguments.json_or_blank_separated, least=1, check=_volume),
    "WORKDIR": InstructionRule(read=arguments.whole, least=1, most=1),
}
HEREDOC_KEYWORDS = frozenset({"RUN", "COPY", "ADD"})
