"""A run as JSON, a contract with the scripts that read it; and such a report as a text again."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from datetime import datetime, timezone
from enum import Enum

from msgspec import Struct

from builder.core.errors import Location
from builder.core.events import Event, ImageResult, Outcome, StepId, Summary
from builder.core.plan import Block, Plan
from builder.core.run_text import failure_line
from builder.core.text import clean, columns, counted, duration, size

_INNER_CAPITAL = re.compile(r"(?<!^)(?=[A-Z])")
_DIGEST = slice(len("sha256:"), len("sha256:") + 12)


def plan_json(plan: Plan) -> dict[str, object]:
    """The contract of ``ocbuild plan --json``."""
    return {
        "commit": plan.commit or None,
        "dirty": plan.dirty,
        "steps": [
            {
                "image": step.image,
                "action": step.action.value,
                "reasons": list(step.reasons),
                "key": step.key or None,
                "refs": list(step.refs),
                "blocked_by": step.by if isinstance(step, Block) else None,
            }
            for step in plan.steps
        ],
    }


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
            return plan_json(value)
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


class ReportedImage(Struct, kw_only=True):
    """What a report says of one image; all of it may be missing in one of another version."""

    action: str | None = None
    status: str | None = None
    seconds: float | None = None
    size: int | None = None
    pushed_bytes: int | None = None
    digest: str | None = None
    error: str | None = None
    log: str | None = None


class RunReport(Struct, kw_only=True):
    """A report that was read, whichever version of ocbuild wrote it."""

    images: dict[str, ReportedImage]
    run_id: str | None = None
    commit: str | None = None
    dirty: bool | None = None
    status: str | None = None
    started: str | None = None
    seconds: float | None = None
    bound_seconds: float | None = None
    release: str | None = None
    error: str | None = None


def report_text(report: RunReport, *, bad_only: bool = False) -> str:
    """A row for each image, what failed and why, and how it ended; no newline at the end."""
    images = report.images
    shown = {name: image for name, image in images.items() if not bad_only or image.status != "ok"}
    parts = [
        "\n".join(_head(report)),
        "\n".join(_table(shown)),
        *("\n".join(_failure(name, image)) for name, image in images.items() if image.error),
        "\n".join(_foot(report)),
    ]
    return "\n\n".join(part for part in parts if part)


def _head(report: RunReport) -> Iterator[str]:
    if report.run_id:
        dirty = ", with uncommitted edits" if report.dirty else ""
        yield f"run {clean(report.run_id)}, commit {clean(report.commit or '-')}{dirty}"
        yield f"started {clean(report.started or '-')}"


def _table(images: Mapping[str, ReportedImage]) -> Iterator[str]:
    rows = [
        (
            clean(name),
            clean(image.action or "-"),
            "FAILED" if image.status == "failed" else clean(image.status or "-"),
            duration(image.seconds) if image.seconds else "-",
            size(image.size) if image.size else "-",
            size(image.pushed_bytes) if image.pushed_bytes else "-",
            clean((image.digest or "")[_DIGEST]) or "-",
        )
        for name, image in images.items()
    ]
    if rows:
        head = ("image", "action", "status", "time", "size", "pushed", "digest")
        yield from columns([head, *rows], right=(3, 4, 5))


def _failure(name: str, image: ReportedImage) -> Iterator[str]:
    yield f"{clean(name)}: {clean(image.error or '')}"
    if image.log:
        yield f"log:  {clean(image.log)}"


def _foot(report: RunReport) -> Iterator[str]:
    yield from (clean(line) for line in (report.error or "").splitlines())
    counts = Counter(str(image.status) for image in report.images.values())
    statuses = ", ".join(f"{count} {clean(status)}" for status, count in counts.most_common())
    line = f"{clean(report.status or 'unknown')}: {counted(len(report.images), 'image')}"
    line += f" ({statuses})" if statuses else ""
    if report.seconds:
        line += f" in {duration(report.seconds)}"
    if report.bound_seconds:
        line += f", of which {duration(report.bound_seconds)} were needed at the least"
    yield line
    if report.release:
        yield f"published {clean(report.release)}"
