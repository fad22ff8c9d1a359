"""One report out of several."""

from __future__ import annotations

from builder.core.events import Event, Report


def fanout(*reports: Report) -> Report:
    """Tell all of them, in order; one that raises is a bug, so nothing is caught."""

    def report(event: Event) -> None:
        for each in reports:
            each(event)

    return report
