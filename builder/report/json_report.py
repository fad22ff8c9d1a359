"""The file of the JSON report of a run."""

from __future__ import annotations

import json
from pathlib import Path

from builder.core.errors import OcbuildError
from builder.core.events import Summary
from builder.core.run_json import failure_json, report_json
from builder.system.files import replace_file


def write_report(path: Path, summary: Summary) -> None:
    """Write the report of a run.

    Raises:
        OcbuildError: if it cannot be written.

    """
    _write(path, report_json(summary))


def write_failure(path: Path, *, status: str, message: str) -> None:
    """Write the report of a run that came to nothing.

    Raises:
        OcbuildError: if it cannot be written.

    """
    _write(path, failure_json(status=status, message=message))


def _write(path: Path, report: dict[str, object]) -> None:
    try:
        replace_file(path, json.dumps(report, indent=2) + "\n")
    except OSError as error:
        raise OcbuildError(
            f"cannot write the report {path}: {error.strerror or error}",
            hint="name a file in a folder that can be written to with --report",
        ) from error
