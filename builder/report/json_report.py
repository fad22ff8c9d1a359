"""The JSON report of a run: a contract with the scripts that read it."""

from __future__ import annotations

import json
from datetime import datetime, timezone
from pathlib import Path

from builder.core.errors import OcbuildError
from builder.core.events import ImageResult, Summary
from builder.report.outcome import failure_line
from builder.system.atomic import replace_file


def as_json(summary: Summary) -> dict[str, object]:
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


def write_report(path: Path, summary: Summary) -> None:
    """Write the report of a run.

    Raises:
        OcbuildError: if it cannot be written.

    """
    _write(path, as_json(summary))


def write_failure(path: Path, *, status: str, message: str) -> None:
    """Write the report of a run that came to nothing: no images, and ``error`` says why.

    Raises:
        OcbuildError: if it cannot be written.

    """
    _write(
        path,
        {
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
        },
    )


def _write(path: Path, report: dict[str, object]) -> None:
    try:
        replace_file(path, json.dumps(report, indent=2) + "\n")
    except OSError as error:
        raise OcbuildError(
            f"cannot write the report {path}: {error.strerror or error}",
            hint="name a file in a folder that can be written to with --report",
        ) from error


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
