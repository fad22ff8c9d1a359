"""The error of a failed build: which instruction failed, where it stands, and what it printed."""

from __future__ import annotations

import re
from collections.abc import Sequence

from builder.core.errors import BuildError, Location
from builder.engines.faults import is_transient, remedy

_LONGEST_COMMAND = 100

# Patterns are compiled by the first who looks for one: few runs have a failure to explain.
_STATUS = r"(?:exit code|non-zero code): (\d+)"
# buildx ends its report with "Dockerfile:12", a ruler, the lines in question, and a ruler.
_SNIPPET = r"(?m)^\S.*?:(?P<line>\d+)\r?\n-{8,}\r?$"
_PARSE_ERROR = r"(?:dockerfile|Dockerfile) parse error (?:on )?line (?P<line>\d+)"
_ERROR = r"(?m)^ERROR: (?P<text>.*(?:\n(?!ERROR: ).*)*)"
# What the engine was doing for its own sake when the error came.
_NOISE = (
    r"failed to solve(?: with frontend \S+)?: |failed to compute cache key: |failed to load cache "
    r"key: |failed to calculate checksum of ref \S+: |rpc error: code = \w+ desc = "
    r"|dockerfile parse error (?:on )?line \d+: |cannot build: "
)
_NOTHING_TO_COPY = r'"(?P<path>/[^"]*)": not found'


class BuildFailedError(BuildError):
    """A build that failed.

    ``command`` is the instruction that failed, ``status`` what its command returned, ``log_tail``
    the last lines that it printed; each is empty or None where no instruction is to blame.
    """

    def __init__(
        self,
        message: str,
        *,
        where: Location | None = None,
        hint: str | None = None,
        transient: bool = False,
        command: str | None = None,
        status: int | None = None,
        log_tail: Sequence[str] = (),
    ) -> None:
        super().__init__(message, where=where, hint=hint, transient=transient)
        self.command = command
        self.status = status
        self.log_tail = tuple(log_tail)


def describe(
    error: str,
    *,
    label: str,
    line: int | None = None,
    command: str | None = None,
    log: Sequence[str] = (),
) -> BuildFailedError:
    """The failure of a build, from the error text of the engine."""
    status = exit_status(error)
    return BuildFailedError(
        _message(error, command, status),
        where=Location(label, line),
        hint=remedy(error, log, status=status),
        transient=is_transient(error, log, status=status),
        command=command,
        status=status,
        log_tail=log,
    )


def refused(error: BuildError, label: str) -> BuildFailedError:
    """The failure of a build that the engine would not even begin, from its own answer."""
    return BuildFailedError(
        re.sub(_NOISE, "", error.message).strip(),
        where=Location(label, reported_line(error.message)),
        hint=error.hint,
        transient=error.transient,
    )


def timed_out(seconds: float, *, label: str, log: Sequence[str] = ()) -> BuildFailedError:
    """The failure of a build that took longer than it may."""
    return BuildFailedError(
        f"timed out after {duration(seconds)}",
        where=Location(label),
        hint="give the image a longer timeout in build.toml if it is known to take that long",
        log_tail=log,
    )


def duration(seconds: float) -> str:
    """A time span as build.toml writes it: 90s, 20m, 2h; several units where one will not do."""
    if seconds != int(seconds):
        return f"{seconds:g}s"
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    parts = ((hours, "h"), (minutes, "m"), (rest, "s"))
    return "".join(f"{number}{unit}" for number, unit in parts if number) or "0s"


def exit_status(error: str) -> int | None:
    """What the failed command returned, where a command has failed."""
    found = re.search(_STATUS, error)
    return None if found is None else int(found[1])


def reported_line(said: str) -> int | None:
    """The line of the Dockerfile that the engine itself names."""
    found = re.search(_SNIPPET, said) or re.search(_PARSE_ERROR, said)
    return None if found is None else int(found["line"])


def reported_error(said: str) -> str | None:
    """The text of the last ``ERROR:`` that the program printed."""
    found = list(re.finditer(_ERROR, said))
    return found[-1]["text"].strip() if found else None


def _message(error: str, command: str | None, status: int | None) -> str:
    fact = re.sub(_NOISE, "", error).strip()
    missing = re.fullmatch(_NOTHING_TO_COPY, fact)
    if missing:
        fact = f'there is no "{missing["path"]}" to copy'
    if command is None:
        return fact
    short = " ".join(command.split())
    if len(short) > _LONGEST_COMMAND:
        short = f"{short[: _LONGEST_COMMAND - 1]}…"
    if status is None:
        return f"{short}: {fact}"
    return f"{short}: failed with exit code {status}"
