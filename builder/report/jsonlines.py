"""One JSON object per event and line, for programs that follow a run."""

from __future__ import annotations

import json
import re
from enum import Enum
from typing import TextIO

from builder.core.errors import Location
from builder.core.events import Event, Outcome, StepId, Summary
from builder.core.plan import Plan
from builder.report.json_report import as_json
from builder.report.text import write_line

_INNER_CAPITAL = re.compile(r"(?<!^)(?=[A-Z])")


class JsonLinesReport:
    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def __call__(self, event: Event) -> None:
        write_line(self._stream, json.dumps(event_json(event)))


def event_json(event: Event) -> dict[str, object]:
    """The fields of the event under their names, and ``event``: its kind, such as step_started.

    An outcome has its kind as ``kind``; plan and summary are as in the plan and the report.
    """
    return {"event": _kind(event), **_fields(event)}


def _fields(value: Event | Outcome | StepId) -> dict[str, object]:
    return {name: _json(getattr(value, name)) for name in value.__struct_fields__}


def _json(value: object) -> object:  # noqa: PLR0911 - one return for each kind of value
    match value:
        case Plan():
            return value.as_json()
        case Summary():
            return as_json(value)
        case Location():
            return str(value)
        case Enum():
            return value.value
        case tuple():
            return [_json(each) for each in value]
        case StepId():
            return _fields(value)
        case _ if isinstance(value, Outcome):
            return {"kind": _kind(value), **_fields(value)}
    return value


def _kind(value: Event | Outcome) -> str:
    return _INNER_CAPITAL.sub("_", type(value).__name__).lower()
