"""The command status: what is deployed and how it is, once or for as long as somebody watches."""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime, timezone

from msgspec import Struct

from builder.core.errors import DeployError, EngineUnavailableError
from builder.core.options import DeployOptions, StatusOptions, TreeOptions
from builder.core.release import Release
from builder.core.retention import moment
from builder.core.text import Draw, TableLine, columns, counted, duration
from builder.deploy.conditions import NOT_DEPLOYED, UNREACHABLE, Row, changes, rows, short
from builder.deploy.memory import memory_of
from builder.deploy.records import Deployment
from builder.deploy.sight import Seen, look
from builder.deploy.site import Site
from builder.report.streams import mode_for, print_json, write_line
from builder.run.execute import signals
from builder.system import threads

COLUMNS = ("stack", "service", "condition", "image", "release", "drift", "since")
# While a host does not answer it is asked ever more rarely.
_LONGEST_WAIT = 30.0
_STYLES = {"starting": "yellow", "created": "yellow", UNREACHABLE: "red", NOT_DEPLOYED: "dim"}


def status(
    tree: TreeOptions,
    options: DeployOptions,
    shown: StatusOptions,
    environ: Mapping[str, str],
) -> int:
    """Every container with its health and image; 5 if one is not well."""
    site = Site.open(tree, options, environ)
    with memory_of(site, environ, _note) as (memory, releases):
        against = None if shown.against is None else releases.read(shown.against)
        memory.adopt_if_told()
    if not shown.watch:
        rows_now = survey(site, against)
        _show(rows_now, site.clock.now(), as_json=shown.as_json)
        return _code(rows_now)
    with signals(site.cancel, threading.Event()):
        if not shown.as_json and mode_for("live", sys.stdout, environ) == "live":
            from builder.report.live import open_table  # noqa: PLC0415 - rich: 50 ms

            with open_table(sys.stdout, COLUMNS, environ=environ) as draw:
                watch(site, against, shown.interval, _Drawn(draw, site))
        else:
            watch(site, against, shown.interval, ChangeLog(site, as_json=shown.as_json))
    # Nothing else ends a watch, so this is no run that was cut off.
    return 0


def _code(rows_now: Iterable[Row]) -> int:
    return 0 if all(row.well for row in rows_now) else DeployError.exit_code


# --- looking ------------------------------------------------------------------------------------


def survey(site: Site, against: Release | None = None) -> list[Row]:
    """One look at all hosts; one that does not answer hides no other."""
    names = site.listed()
    deployed = {name: site.records.current(name) for name in names}
    projects: dict[str, set[str]] = {host: set() for host in site.engines}
    for name, deployment in deployed.items():
        if deployment is not None:
            projects[site.stacks[name].host].add(str(deployment.compose["name"]))

    def ask(host: str) -> dict[str, tuple[Seen, ...]] | str:
        if not projects[host]:
            return {}
        try:
            return look(site.engines[host], projects[host])
        except (DeployError, EngineUnavailableError) as error:
            return error.message

    each_answer = threads.each(ask, projects, at_once=len(projects))
    answers = dict(zip(projects, each_answer, strict=True))
    rows_now: list[Row] = []
    for name in names:
        rows_now += _stack(name, site.stacks[name].host, deployed[name], answers, against)
    return rows_now


def _stack(
    name: str,
    host: str,
    deployment: Deployment | None,
    answers: Mapping[str, Mapping[str, tuple[Seen, ...]] | str],
    against: Release | None,
) -> list[Row]:
    if deployment is None:
        return [Row(stack=name, host=host, condition=NOT_DEPLOYED)]
    answer = answers[host]
    if isinstance(answer, str):
        return [
            Row(
                stack=name,
                host=host,
                condition=UNREACHABLE,
                well=False,
                release=deployment.release,
                why=answer.splitlines()[-1] if answer else "",
                deployed=deployment.at,
                by=deployment.by,
            )
        ]
    return rows(name, deployment, answer[str(deployment.compose["name"])], against)


# --- watching -----------------------------------------------------------------------------------


def watch(
    site: Site, against: Release | None, interval: float, show: Callable[[Sequence[Row]], None]
) -> None:
    """Look again and again; the wait begins when a look has ended, so that none is hurried."""
    wait = interval
    while not site.cancel.is_set():
        rows_now = survey(site, against)
        if site.cancel.is_set():
            return
        show(rows_now)
        lost = any(row.condition == UNREACHABLE for row in rows_now)
        wait = min(max(_LONGEST_WAIT, interval), wait * 2) if lost else interval
        site.clock.wait(site.cancel, wait)


class _Drawn(Struct):
    """On a terminal: the whole table, in place."""

    draw: Draw
    site: Site

    def __call__(self, rows_now: Sequence[Row]) -> None:
        now = self.site.clock.now()
        lines = [TableLine(_cells(row, now), _style(row), urgent=not row.well) for row in rows_now]
        bad = sum(not row.well for row in rows_now)
        state = f"{counted(bad, 'row')} not well" if bad else "all is well"
        if all(row.condition == NOT_DEPLOYED for row in rows_now):
            state = "nothing is deployed"
        self.draw(lines, f"{_time(now)}  {state}; ctrl-C ends this")


class ChangeLog(Struct):
    """In a log or a pipe: the table once, and then a line for each change."""

    site: Site
    as_json: bool
    before: Sequence[Row] | None = None

    def __call__(self, rows_now: Sequence[Row]) -> None:
        now = self.site.clock.now()
        if self.as_json:
            if rows_now != self.before:
                write_line(sys.stdout, json.dumps([row.as_json() for row in rows_now]))
        elif self.before is None:
            _show(rows_now, now, as_json=False)
        else:
            for change in changes(self.before, rows_now):
                write_line(sys.stdout, f"{_time(now)} {change}")
        sys.stdout.flush()
        self.before = rows_now


# --- showing ------------------------------------------------------------------------------------


def _show(rows_now: Sequence[Row], now: float, *, as_json: bool) -> None:
    if as_json:
        print_json([row.as_json() for row in rows_now])
        return
    for line in columns([COLUMNS, *(_cells(row, now) for row in rows_now)]):
        sys.stdout.write(line + "\n")


def _cells(row: Row, now: float) -> tuple[str, ...]:
    condition = row.condition
    if row.restarts:
        condition += f", restarted {row.restarts}x"
    since = moment(row.since)
    age = "" if since is None else duration(now - since.timestamp())
    drift = row.drift or row.why
    return (row.stack, row.service, condition, short(row.image), row.release, drift, age)


def _style(row: Row) -> str:
    if row.condition in _STYLES:
        return _STYLES[row.condition]
    if not row.well:
        return "red"
    return "yellow" if row.drift else ""


def _note(text: str) -> None:
    write_line(sys.stderr, text)


def _time(now: float) -> str:
    return datetime.fromtimestamp(now, timezone.utc).astimezone().strftime("%H:%M:%S")
