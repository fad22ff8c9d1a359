"""A run as JSON, a contract with the scripts that read it; and such a report as a text again."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from datetime import datetime, timezone
from enum import Enum
from typing import Any

from builder.core.errors import Location
from builder.core.events import Event, ImageResult, Outcome, StepId, Summary
from builder.core.plan import Plan
from builder.core.run_text import failure_line
from builder.core.text import clean, columns, counted, duration, size

_INNER_CAPITAL = re.compile(r"(?<!^)(?=[A-Z])")
_DIGEST = slice(len("sha256:"), len("sha256:") + 12)


def report_json(summary: Summary) -> dict[str, object]:
    """The report as a value; keys are never left out, what is unknown is null."""
    return {
        "run_id": summary.run_id,
        "commit": summary.commit or None,
        "dirty": summary.dirty,
        "status": summary.status,
        "started": _iso(summary.started),
        "seconds": round(summary.seconds, 3),
        "bound_seconds": round(summary.bound_seconds, 3),
        "release": summary.release,
        "images": {name: _image(result) for name, result in summary.images.items()},
    }


def failure_json(*, status: str, message: str) -> dict[str, object]:
    """The report of a run that came to nothing: no images, and ``error`` says why."""
    return {
        "run_id": None,
        "commit": None,
        "dirty": None,
        "status": status,
        "started": None,
        "seconds": 0.0,
        "bound_seconds": 0.0,
        "release": None,
        "images": {},
        "error": message,
    }


def _image(result: ImageResult) -> dict[str, object]:
    return {
        "action": result.action,
        "status": result.status.value,
        "reasons": list(result.reasons),
        "key": result.key or None,
        "digest": result.digest,
        "refs": list(result.refs),
        "seconds": round(result.seconds, 3),
        "size": result.size,
        "pushed_bytes": result.pushed_bytes,
        "log": result.log,
        "error": failure_line(result.error) if result.error else None,
        "blocked_by": result.blocked_by,
    }


def _iso(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, tz=timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


# --- events -------------------------------------------------------------------------------------


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
            return report_json(value)
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


# --- a report that was read -------------------------------------------------------------------


def report_text(report: Mapping[str, Any], *, bad_only: bool = False) -> str:
    """A row for each image, what failed and why, and how it ended; no newline at the end."""
    images: Mapping[str, Mapping[str, Any]] = report.get("images") or {}
    shown = {name: one for name, one in images.items() if not bad_only or one.get("status") != "ok"}
    parts = [
        "\n".join(_head(report)),
        "\n".join(_table(shown)),
        *("\n".join(_failure(name, one)) for name, one in images.items() if one.get("error")),
        "\n".join(_foot(report, images)),
    ]
    return "\n\n".join(part for part in parts if part)


def _head(report: Mapping[str, Any]) -> Iterator[str]:
    if run := report.get("run_id"):
        dirty = ", with uncommitted edits" if report.get("dirty") else ""
        yield f"run {clean(str(run))}, commit {clean(str(report.get('commit') or '-'))}{dirty}"
        yield f"started {clean(str(report.get('started') or '-'))}"


def _table(images: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    rows = [
        (
            clean(name),
            _cell(one, "action"),
            "FAILED" if one.get("status") == "failed" else _cell(one, "status"),
            duration(float(one["seconds"])) if one.get("seconds") else "-",
            _size(one.get("size")),
            _size(one.get("pushed_bytes")),
            str(one.get("digest") or "")[_DIGEST] or "-",
        )
        for name, one in images.items()
    ]
    if rows:
        head = ("image", "action", "status", "time", "size", "pushed", "digest")
        yield from columns([head, *rows], right=(3, 4, 5))


def _cell(one: Mapping[str, Any], key: str) -> str:
    return clean(str(one.get(key) or "-"))


def _size(value: object) -> str:
    return size(value) if isinstance(value, int) and value else "-"


def _failure(name: str, one: Mapping[str, Any]) -> Iterator[str]:
    yield f"{clean(name)}: {clean(str(one['error']))}"
    if one.get("log"):
        yield f"log:  {clean(str(one['log']))}"


def _foot(report: Mapping[str, Any], images: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    if error := report.get("error"):
        yield from (clean(line) for line in str(error).splitlines())
    counts = Counter(str(one.get("status")) for one in images.values())
    told = ", ".join(f"{count} {clean(status)}" for status, count in counts.most_common())
    line = f"{clean(str(report.get('status') or 'unknown'))}: {counted(len(images), 'image')}"
    line += f" ({told})" if told else ""
    if seconds := report.get("seconds"):
        line += f" in {duration(float(seconds))}"
    if bound := report.get("bound_seconds"):
        line += f", of which {duration(float(bound))} were needed at the least"
    yield line
    if release := report.get("release"):
        yield f"published {clean(str(release))}"
