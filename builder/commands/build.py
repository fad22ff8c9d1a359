"""The main job as one story: read, select, look up, plan, execute, publish, report."""

from __future__ import annotations

import json
import os
import sys
import threading
from collections.abc import Mapping
from contextlib import ExitStack
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from builder.commands import refresh_apply as apply
from builder.config.lock import Lock
from builder.core.bases import Pin, Resolution
from builder.core.context import ContextListing
from builder.core.errors import (
    EngineUnavailableError,
    InterruptedRunError,
    RevisionError,
)
from builder.core.events import Note
from builder.core.options import BuildOptions, SelectOptions, TreeOptions
from builder.core.plan import Action, Plan, Reuse
from builder.core.select import Selection
from builder.core.tasks import connect, phases
from builder.engines import bases
from builder.publish.publication import Publication
from builder.registry.client import Registry
from builder.report.logs import open_logs
from builder.report.streams import fanout, open_progress
from builder.run.carry_out import Run
from builder.run.execute import signals
from builder.run.machine import Machine
from builder.run.planning import Planner, all_externals, externals
from builder.run.prepare import default_jobs, make_jobs
from builder.system import durations
from builder.system.clock import Clock, SystemClock
from builder.system.files import state_dir
from builder.tree.read import Tree, choose_images, read_contexts, read_tree

if TYPE_CHECKING:
    from builder.core.renewal import Renewal

RUNS = Path(".ocbuild/runs")
DURATIONS = "durations.json"


def build_or_show(
    tree_options: TreeOptions,
    select_options: SelectOptions,
    options: BuildOptions,
    environ: Mapping[str, str],
) -> int:
    """The command ``build``; with --dry-run it is ``plan``."""
    run = plan if options.dry_run else build
    return run(tree_options, select_options, options, environ)


def build(
    tree_options: TreeOptions,
    select_options: SelectOptions,
    options: BuildOptions,
    environ: Mapping[str, str],
    *,
    renewal: Renewal | None = None,
) -> int:
    """Make the selected images and publish them if asked; the exit code.

    With ``renewal`` the images are those that a refresh makes anew, whatever is selected.

    Raises:
        OcbuildError: for all that is wrong before the first step starts; afterwards failures are
            in the report.

    """
    clock = SystemClock()
    tree = read_tree(tree_options)
    if options.push:
        _refuse_dirt(tree, options)
    if renewal is None:
        selection = choose_images(tree, select_options)
    else:
        tree = apply.renamed(tree, renewal)
        selection = apply.selection(tree, renewal)
    if not selection.images:
        sys.stderr.write("nothing is selected: no image has changed, or none had failed\n")
        return 0
    listings = read_contexts(tree, selection.images)
    lock = Lock.open(tree.config, options)
    lock.check(externals(tree, selection), tree.config)
    machine = _machine(tree, environ)
    known = durations.load(state_dir(environ) / DURATIONS)
    expected = durations.expected(known, tree.graph.order)
    run_id = _run_id(clock)
    log_dir = tree.config.root / RUNS / run_id
    cancel, kill = threading.Event(), threading.Event()
    with (
        ExitStack() as stack,
        signals(cancel, kill),
        open_progress(
            options.progress,
            _progress_stream(options),
            environ=environ,
            clock=clock,
            expected=expected,
        ) as progress,
        open_logs(log_dir) as logs,
    ):
        report = fanout(logs, progress)
        publication = None
        if options.push:
            machine.start_registry(tree, report)
            registry = stack.enter_context(_registry(tree, environ, clock, cancel))
            publication = Publication.open(
                registry, tree, renewal, holder=_holder(run_id), clock=clock, cancel=cancel
            )

        def provide(texts: frozenset[str], pins: Mapping[str, Pin]) -> Resolution:
            providers = bases.BaseProviders(
                images=machine.daemon,
                bootstrap=machine.bootstrap,
                tell=lambda text: report(Note(text=text)),
                cancel=cancel,
                pins=pins,
            )
            found = bases.provide(texts, tree.config, providers)
            if cancel.is_set():
                raise InterruptedRunError("interrupted before anything was built")
            return found

        planner = _planner(
            tree, selection, options, machine, listings, publication=publication, renewal=renewal
        )
        locked = {**lock.pins, **apply.pins(renewal)}
        planned = planner.plan(_locked_externals(tree, selection, lock), locked, provide)
        plan, resolution = planned.plan, planned.resolution
        if lock.record(resolution, all_externals(tree)) and options.push:
            raise RevisionError(
                f"{tree.config.lock_path.name} has changed, so no commit has what is published",
                hint="commit it, and run the same again",
            )
        if publication is not None and not all(isinstance(step, Reuse) for step in plan.steps):
            publication.check_access()
        jobs = make_jobs(
            tree,
            plan,
            bases=resolution,
            environ=environ,
            no_cache=options.no_cache or frozenset(renewal.stale if renewal else ()),
            push=options.push,
            contexts=planned.contexts,
        )
        run = Run(
            run_id=run_id,
            plan=plan,
            jobs=jobs,
            steps=connect(
                plan,
                phases(
                    plan,
                    tested=[name for name, job in jobs.items() if job.tests],
                    moving=[name for name, job in jobs.items() if job.moving],
                    push=options.push,
                ),
                expected,
            ),
            parallel=default_jobs(tree.config, options.jobs),
            started=clock.now(),
            log_dir=log_dir,
            cancel=cancel,
            kill=kill,
            publication=publication,
            inputs=planned.inputs,
        )
        summary = run.carry_out(tree, options, machine, report, clock)
    durations.record(state_dir(environ) / DURATIONS, summary)
    return summary.exit_code


def plan(
    tree_options: TreeOptions,
    select_options: SelectOptions,
    options: BuildOptions,
    environ: Mapping[str, str],
) -> int:
    """Show what ``build`` would do; without an engine the keys of images stay unknown."""
    tree = read_tree(tree_options)
    selection = choose_images(tree, select_options)
    listings = read_contexts(tree, selection.images)
    lock = Lock.open(tree.config, options)
    lock.check(externals(tree, selection), tree.config)
    machine = _engine_if_any(tree, environ)
    with ExitStack() as stack:
        publication = None
        if options.push:
            clock, never = SystemClock(), threading.Event()
            registry = stack.enter_context(_registry(tree, environ, clock, never))
            publication = Publication.open(
                registry, tree, None, holder="", clock=clock, cancel=never
            )
        planner = _planner(tree, selection, options, machine, listings, publication=publication)
        resolution: Resolution = {}
        wanted = _locked_externals(tree, selection, lock)
        if machine is not None:
            resolution = bases.look_up(wanted, tree.config, machine.daemon, lock.pins)
            lock.record(resolution, all_externals(tree))
        made = planner.look_ahead(resolution, wanted - lock.pins.keys()).plan
    if options.as_json:
        sys.stdout.write(json.dumps(made.as_json(), indent=2) + "\n")
    else:
        sys.stdout.write(_plan_text(made))
    return 0


def _planner(
    tree: Tree,
    selection: Selection,
    options: BuildOptions,
    machine: Machine | None,
    listings: Mapping[str, ContextListing],
    *,
    publication: Publication | None,
    renewal: Renewal | None = None,
) -> Planner:
    known_by = publication or renewal
    return Planner(
        tree=tree,
        selection=selection,
        options=options,
        machine=machine,
        publication=publication,
        renewal=renewal,
        generations=known_by.generations if known_by else {},
        listings=listings,
    )


def _machine(tree: Tree, environ: Mapping[str, str]) -> Machine:
    return Machine.connect(environ, plain_http=frozenset(tree.config.publish.plain_http))


def _engine_if_any(tree: Tree, environ: Mapping[str, str]) -> Machine | None:
    try:
        return _machine(tree, environ)
    except EngineUnavailableError as error:
        sys.stderr.write(f"note: {error.message}; what exists already is not known\n")
        return None


def _registry(
    tree: Tree, environ: Mapping[str, str], clock: Clock, cancel: threading.Event
) -> Registry:
    plain = frozenset(tree.config.publish.plain_http)
    return Registry.connect(environ, clock=clock, plain_http=plain, cancel=cancel)


def _plan_text(made: Plan) -> str:
    width = max((len(step.image) for step in made.steps), default=0)
    lines = [
        f"{step.action.value:8} {step.image:{width}}  {'; '.join(step.reasons)}"
        for step in made.steps
    ]
    builds = sum(step.action is Action.BUILD for step in made.steps)
    at = f", at {made.commit[:7]}" if made.commit else ""
    dirt = " with uncommitted edits" if made.dirty else ""
    lines += [f"note: {remark}" for remark in made.remarks]
    assembled = sum(step.action is Action.ASSEMBLE for step in made.steps)
    others = f", {assembled} to assemble" if assembled else ""
    lines.append(f"{len(made.steps)} images, {builds} to build{others}{at}{dirt}")
    return "\n".join(lines) + "\n"


def _refuse_dirt(tree: Tree, options: BuildOptions) -> None:
    if tree.dirty and not options.allow_dirty:
        raise RevisionError(
            "the tree has uncommitted edits, so no commit says what would be published",
            hint="commit them, or publish under a tag that ends in -dirty with --allow-dirty",
        )


def _locked_externals(tree: Tree, selection: Selection, lock: Lock) -> frozenset[str]:
    """Those that the run needs; a lock that is written has all of the tree."""
    return all_externals(tree) if lock.write else externals(tree, selection)


def _progress_stream(options: BuildOptions) -> TextIO:
    """Progress is talk, and goes to stderr; JSON is data, and goes to stdout."""
    return sys.stdout if options.progress == "json" else sys.stderr


def _holder(run_id: str) -> str:
    """What other runs are told of this one."""
    return f"run {run_id} on {os.uname().nodename}"


def _run_id(clock: Clock) -> str:
    at = datetime.fromtimestamp(clock.now(), timezone.utc)
    return f"{at:%Y%m%d-%H%M%S}-{os.urandom(2).hex()}"
