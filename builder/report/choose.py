"""The report that ``--progress`` asks for, or that suits the stream."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import TextIO

from builder.core.events import Report
from builder.system.clock import Clock


def open_progress(
    mode: str,
    stream: TextIO,
    *,
    environ: Mapping[str, str],
    clock: Clock,
    expected: Mapping[str, float],
) -> AbstractContextManager[Report]:
    """The report for ``mode``: auto, live, plain, json or quiet. It has to be closed at the end.

    ``expected`` are seconds per image, from which the live report estimates what is left.
    """
    chosen = mode_for(mode, stream, environ)
    # Each is imported by those who want it.
    if chosen == "live":
        from builder.report.live import open_live  # noqa: PLC0415

        return open_live(stream, clock=clock, environ=environ, expected=expected)
    if chosen == "json":
        from builder.report.jsonlines import JsonLinesReport  # noqa: PLC0415

        return contextlib.nullcontext(JsonLinesReport(stream))
    if chosen == "quiet":
        from builder.report.quiet import QuietReport  # noqa: PLC0415

        return contextlib.nullcontext(QuietReport(stream))
    from builder.report.plain import PlainReport  # noqa: PLC0415

    return contextlib.nullcontext(PlainReport(stream))


def mode_for(mode: str, stream: TextIO, environ: Mapping[str, str]) -> str:
    """What ``auto`` means here; and plain instead of live where nothing can be redrawn."""
    if mode not in ("auto", "live"):
        return mode
    if not _can_redraw(stream, environ):
        return "plain"
    # Wherever one of these is set, somebody will read the output as a text.
    unwanted = environ.get("CI") or environ.get("NO_COLOR")
    return "plain" if mode == "auto" and unwanted else "live"


def _can_redraw(stream: TextIO, environ: Mapping[str, str]) -> bool:
    terminal = environ.get("TERM", "dumb") not in ("", "dumb", "unknown")
    encoding = (stream.encoding or "").lower().replace("-", "")
    return stream.isatty() and terminal and encoding == "utf8"
