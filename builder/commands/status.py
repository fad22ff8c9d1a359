"""The command status: what is deployed and how it is, once or for as long as somebody watches."""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timezone

from msgspec import Struct

from builder.core.deploy.status import (
    COLUMNS,
    Answer,
    Row,
    cells,
    changes,
    exit_code,
    next_wait,
    stack_rows,
    style,
    verdict,
)
from builder.core.errors import DeployError, EngineUnavailableError
from builder.core.options import DeployOptions, StatusOptions, TreeOptions
from builder.core.release import Release
from builder.core.text import Draw, TableLine, columns
from builder.deploy.compose import look
from builder.deploy.project import DeployedProject
from builder.deploy.shared_record import shared_records
from builder.report.streams import mode_for, print_json, write_line
from builder.run.execute import signals
from builder.system.process import in_threads


def status(
    tree: TreeOptions,
    options: DeployOptions,
    shown: StatusOptions,
    environ: Mapping[str, str],
) -> int:
    """Every container with its health and image; 5 if one is not well."""
    project = DeployedProject.open(tree, options, environ)
    with shared_records(project, environ, _note) as (shared, releases):
        against = None if shown.against is None else releases.read(shown.against)
        shared.read_if_possible()
    if not shown.watch:
        rows = survey(project, against)
        _show(rows, project.clock.now(), as_json=shown.as_json)
        return exit_code(rows)
    with signals(project.cancel, threading.Event()):
        if not shown.as_json and mode_for("live", sys.stdout, environ) == "live":
            from builder.report.live import open_table  # noqa: PLC0415 - rich: 50 ms

            with open_table(sys.stdout, COLUMNS, environ=environ) as draw:
                watch(project, against, shown.interval, _Drawn(draw, project))
        else:
            watch(project, against, shown.interval, ChangeLog(project, as_json=shown.as_json))
    # Nothing else ends a watch, so this is no run that was cut off.
    return 0


# --- looking ------------------------------------------------------------------------------------


def survey(project: DeployedProject, against: Release | None = None) -> list[Row]:
    """One look at all hosts; one that does not answer hides no other."""
    names = project.listed()
    deployed = {name: project.records.deployed_last(name) for name in names}
    projects: dict[str, set[str]] = {host: set() for host in project.engines}
    for name, deployment in deployed.items():
        if deployment is not None:
            projects[project.stacks[name].host].add(deployment.project)

    def ask(host: str) -> Answer:
        if not projects[host]:
            return {}
        try:
            return look(project.engines[host], projects[host])
        except (DeployError, EngineUnavailableError) as error:
            return error.message

    answers = dict(zip(projects, in_threads(ask, projects, at_once=len(projects)), strict=True))
    rows: list[Row] = []
    for name in names:
        host = project.stacks[name].host
        rows += stack_rows(name, host, deployed[name], answers[host], against)
    return rows


# --- watching -----------------------------------------------------------------------------------


def watch(
    project: DeployedProject,
    against: Release | None,
    interval: float,
    show: Callable[[Sequence[Row]], None],
) -> None:
    """Look again and again; the wait begins when a look has ended, so that none is hurried."""
    wait = interval
    while not project.cancel.is_set():
        rows = survey(project, against)
        if project.cancel.is_set():
            return
        show(rows)
        wait = next_wait(rows, interval, wait)
        project.clock.wait(project.cancel, wait)


class _Drawn(Struct):
    """On a terminal: the whole table, in place."""

    draw: Draw
    project: DeployedProject

    def __call__(self, rows: Sequence[Row]) -> None:
        now = self.project.clock.now()
        lines = [TableLine(cells(row, now), style(row), urgent=not row.well) for row in rows]
        self.draw(lines, f"{_time(now)}  {verdict(rows)}; ctrl-C ends this")


class ChangeLog(Struct):
    """In a log or a pipe: the table once, and then a line for each change."""

    project: DeployedProject
    as_json: bool
    before: Sequence[Row] | None = None

    def __call__(self, rows: Sequence[Row]) -> None:
        now = self.project.clock.now()
        if self.as_json:
            if rows != self.before:
                write_line(sys.stdout, json.dumps([row.as_json() for row in rows]))
        elif self.before is None:
            _show(rows, now, as_json=False)
        else:
            for change in changes(self.before, rows):
                write_line(sys.stdout, f"{_time(now)} {change}")
        sys.stdout.flush()
        self.before = rows


# --- showing ------------------------------------------------------------------------------------


def _show(rows: Sequence[Row], now: float, *, as_json: bool) -> None:
    if as_json:
        print_json([row.as_json() for row in rows])
        return
    for line in columns([COLUMNS, *(cells(row, now) for row in rows)]):
        sys.stdout.write(line + "\n")


def _note(text: str) -> None:
    write_line(sys.stderr, text)


def _time(now: float) -> str:
    return datetime.fromtimestamp(now, timezone.utc).astimezone().strftime("%H:%M:%S")
