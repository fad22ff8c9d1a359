"""What a check found, as a value: well, to be known, or in the way; and what mends it."""

from __future__ import annotations

from collections.abc import Iterable
from enum import Enum

from msgspec import Struct

from builder.core.errors import (
    BuildError,
    DeployError,
    EngineUnavailableError,
    InputError,
    OcbuildError,
    PublishError,
)

# The exit codes of failures, what comes first in a run first: who has no engine need not yet care
# for what cannot be deployed.
_ORDER = (
    InputError.exit_code,
    EngineUnavailableError.exit_code,
    BuildError.exit_code,
    PublishError.exit_code,
    DeployError.exit_code,
)


class Level(Enum):
    """``WARNING``: what is wanted works, but not all that may be wanted one day."""

    OK = "ok"
    WARNING = "warning"
    FAILURE = "failure"


class Finding(Struct, frozen=True, kw_only=True):
    """``exit_code`` is the contract's for what cannot be done because of a failure, else 0."""

    area: str
    level: Level
    fact: str
    remedy: str = ""
    exit_code: int = 0

    def as_json(self) -> dict[str, object]:
        return {
            "area": self.area,
            "level": self.level.value,
            "fact": self.fact,
            "remedy": self.remedy or None,
        }


def ok(area: str, fact: str) -> Finding:
    return Finding(area=area, level=Level.OK, fact=fact)


def warning(area: str, fact: str, remedy: str = "") -> Finding:
    return Finding(area=area, level=Level.WARNING, fact=fact, remedy=remedy)


def failure(area: str, fact: str, remedy: str, kind: type[OcbuildError]) -> Finding:
    """What stands in the way of what ends with an error of ``kind``."""
    return Finding(
        area=area, level=Level.FAILURE, fact=fact, remedy=remedy, exit_code=kind.exit_code
    )


def of_error(area: str, error: OcbuildError) -> Finding:
    return failure(area, error.message, error.hint or "", type(error))


def exit_code(findings: Iterable[Finding]) -> int:
    codes = {one.exit_code for one in findings if one.level is Level.FAILURE}
    return next((code for code in _ORDER if code in codes), max(codes, default=0))
