"""The files of a run: its JSON report, and a log for each image with all that its steps print."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import os
import re
import sys
import tempfile
import traceback
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import IO

from builder import __version__
from builder.core.errors import Bug, OcbuildError
from builder.core.events import (
    Event,
    Failed,
    Report,
    StepFinished,
    StepId,
    StepOutput,
    StepRetried,
    StepStarted,
    Summary,
)
from builder.core.run_json import failure_json, report_json
from builder.core.run_text import outcome_text
from builder.core.text import duration
from builder.system.files import replace_file

_UNSAFE = re.compile(r"[^A-Za-z0-9._-]")
_LONGEST_NAME = 120


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


# --- logs ---------------------------------------------------------------------------------------


def log_path(log_dir: Path, image: str) -> Path:
    """Where the log of an image is: below ``log_dir`` whatever the image is called."""
    name = _UNSAFE.sub("_", image)[:_LONGEST_NAME]
    if name != image or name.startswith("."):
        # Two images must not share a file because their names were made safe.
        digest = hashlib.sha256(image.encode("utf-8", "surrogatepass")).hexdigest()
        name = f"{name.lstrip('.')}-{digest[:8]}"
    return log_dir / f"{name}.log"


@contextlib.contextmanager
def open_logs(log_dir: Path) -> Iterator[Report]:
    """A report that writes the log files of a run; all of them are closed at the end.

    Raises:
        OcbuildError: if they cannot be written, then or from the report.

    """
    logs = _Logs(log_dir)
    with _writing(log_dir):
        log_dir.mkdir(parents=True, exist_ok=True)
    try:
        yield logs
    finally:
        logs.close()


class _Log:
    """The log of one running step; its file is opened when there is something to tell."""

    def __init__(self, path: str, heading: str) -> None:
        self._path = path
        self._heading = heading
        self._file: IO[str] | None = None

    def write(self, text: str) -> None:
        if self._file is None:
            # Appending, and by lines, so that steps which run at once do not overwrite each other.
            self._file = self._opened(buffering=1)
            text = self._heading + text
        self._file.write(text)

    def end(self, text: str) -> None:
        """Close it with its last words, which may also be all that there is to tell."""
        if self._file is None:
            text = self._heading + text
        with self._file or self._opened() as file:
            file.write(text)

    def _opened(self, buffering: int = -1) -> IO[str]:
        return open(  # noqa: PTH123 - by its text, as it is one of thousands
            self._path, "a", encoding="utf-8", errors="backslashreplace", buffering=buffering
        )


class _Logs:
    def __init__(self, log_dir: Path) -> None:
        self._log_dir = log_dir
        self._open: dict[StepId, _Log] = {}
        self._paths: dict[str, str] = {}

    def __call__(self, event: Event) -> None:
        try:
            self._write(event)
        except OSError as error:
            raise _unwritable(self._log_dir, error) from error

    def close(self) -> None:
        with _writing(self._log_dir), contextlib.ExitStack() as stack:
            for log in self._open.values():
                stack.callback(log.end, "")
            self._open.clear()

    def _write(self, event: Event) -> None:
        if isinstance(event, StepStarted):
            self._begin(event)
        elif isinstance(event, StepOutput):
            self._line(event.step, event.line)
        elif isinstance(event, StepRetried):
            delay = duration(event.delay)
            self._line(event.step, f"== attempt {event.attempt} failed: {event.message}")
            self._line(event.step, f"== again in {delay}")
        elif isinstance(event, StepFinished):
            self._end(event)

    def _begin(self, event: StepStarted) -> None:
        image = event.step.image
        path = self._paths.get(image)
        if path is None:
            path = self._paths[image] = str(log_path(self._log_dir, image))
            # The folder may be used again; within a run the steps of an image share a file.
            Path(path).unlink(missing_ok=True)
        self._open[event.step] = _Log(path, f"== {event.step}, {_time(int(event.at))}\n")

    def _end(self, event: StepFinished) -> None:
        log = self._open.pop(event.step, None)
        if log is None:
            return
        if isinstance(event.outcome, Failed) and event.outcome.hint:
            log.write(f"== hint: {event.outcome.hint}\n")
        end = f"{outcome_text(event.outcome)} after {duration(event.seconds)}"
        log.end(f"== {event.step}: {end}\n")

    def _line(self, step: StepId, line: str) -> None:
        # What comes after the end of its step comes from work that was left behind.
        if log := self._open.get(step):
            log.write(f"{line}\n")


@functools.lru_cache(maxsize=8)
def _time(at: int) -> str:
    return datetime.fromtimestamp(at, tz=timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


@contextlib.contextmanager
def _writing(log_dir: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise _unwritable(log_dir, error) from error


def _unwritable(log_dir: Path, error: OSError) -> OcbuildError:
    return OcbuildError(
        f"cannot write the logs in {log_dir}: {error.strerror or error}",
        hint="make room there, or choose another state folder with OCBUILD_STATE",
    )


def told_bug(error: BaseException) -> Bug:
    """What the user is told of an exception that is a fault of ours; where it came is in a file."""
    handle, name = tempfile.mkstemp(prefix="ocbuild-bug-", suffix=".log")
    with os.fdopen(handle, "w", errors="backslashreplace") as log:
        log.write(f"ocbuild {__version__}, Python {sys.version}\n{' '.join(sys.argv)}\n\n")
        log.write("".join(traceback.format_exception(error)))
    return Bug(
        f"this is a bug in ocbuild: {type(error).__name__}: {error}",
        hint=f"please report it with the log file {name}",
    )
