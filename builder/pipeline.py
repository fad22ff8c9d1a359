"""The main job as one story: read, select, look up, plan, execute, publish, report."""

from __future__ import annotations

import json
import secrets
import sys
import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import TextIO

from builder import bases, durations
from builder.assembler.program import obstacle
from builder.backoff import RetryPolicy
from builder.clock import Clock, SystemClock
from builder.errors import EngineUnavailableError, InterruptedRunError, RevisionError
from builder.events import Note, Phase, Report, RunFinished, RunStarted, Summary
from builder.execute import Results, StepCrashedError, execute, signals
from builder.machine import Machine
from builder.options import BuildOptions, SelectOptions, TreeOptions
from builder.plan import Action, Plan, make_plan
from builder.prepare import Existing, content_keys, default_jobs, known_images, make_jobs
from builder.report.choose import open_progress
from builder.report.fanout import fanout
from builder.report.json_report import write_report
from builder.report.logs import open_logs
from builder.report.summary import summarise
from builder.room import Room, available_memory
from builder.schedule import GATE, ScheduledStep
from builder.select import Selection
from builder.state import state_dir
from builder.steps import BUILD_POOL, PUSH_POOL, connect
from builder.tree import LAST_REPORT, Tree, choose_images, read_contexts, read_tree
from builder.work import Job, Worker

PUSHES = 4
RUNS = Path(".ocbuild/runs")
DURATIONS = "durations.json"


def build(
    tree_options: TreeOptions,
    select_options: SelectOptions,
    options: BuildOptions,
    environ: Mapping[str, str],
) -> int:
    """Make the selected images and publish them if asked; the exit code.

    Raises:
        OcbuildError: for all that is wrong before the first step starts; afterwards failures are
            in the report.

    """
    clock = SystemClock()
    tree = read_tree(tree_options)
    if options.push:
        _refuse_dirt(tree, options)
    selection = choose_images(tree, select_options)
    if not selection.images:
        sys.stderr.write("nothing is selected: no image has changed, or none had failed\n")
        return 0
    read_contexts(tree, selection.images)
    machine = Machine.connect(environ)
    known = durations.load(state_dir(environ) / DURATIONS)
    expected = durations.expected(known, tree.graph.order)
    run_id = _run_id(clock)
    log_dir = tree.config.root / RUNS / run_id
    cancel, kill = threading.Event(), threading.Event()
    with (
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
        if options.push:
            machine.open_registry(tree, report)
        resolution = bases.provide(
            _externals(tree, selection),
            tree.config,
            bases.Means(
                images=machine.daemon,
                bootstrap=machine.bootstrap,
                tell=lambda text: report(Note(text=text)),
                cancel=cancel,
            ),
        )
        if cancel.is_set():
            raise InterruptedRunError("interrupted before anything was built")
        plan, existing = _plan(tree, selection, options, machine, resolution)
        jobs = make_jobs(
            tree,
            plan,
            bases=resolution,
            existing=existing,
            environ=environ,
            no_cache=options.no_cache,
        )
        if options.push:
            jobs = _kept_out_of_engine(plan, jobs)
        run = _Run(
            run_id=run_id,
            plan=plan,
            jobs=jobs,
            steps=connect(plan, _phases(jobs, push=options.push), expected),
            parallel=default_jobs(tree.config, options.jobs),
            started=clock.now(),
            log_dir=log_dir,
            cancel=cancel,
            kill=kill,
        )
        summary = run.carry_out(tree, options, machine, report, clock)
    durations.record(state_dir(environ) / DURATIONS, summary)
    return summary.exit_code


def plan(
    tree_options: TreeOptions,
    select_options: SelectOptions,
    options: BuildOptions,
    environ: Mapping[str, str],
    *,
    as_json: bool,
) -> int:
    """Show what ``build`` would do; without an engine the keys of images stay unknown."""
    tree = read_tree(tree_options)
    selection = choose_images(tree, select_options)
    read_contexts(tree, selection.images)
    try:
        machine = Machine.connect(environ)
    except EngineUnavailableError as error:
        sys.stderr.write(f"note: {error.message}; what exists already is not known\n")
        made, _ = _plan(tree, selection, options, None, {})
    else:
        resolution = bases.look_up(_externals(tree, selection), tree.config, machine.daemon)
        made, _ = _plan(tree, selection, options, machine, resolution)
    if as_json:
        sys.stdout.write(json.dumps(made.as_json(), indent=2) + "\n")
    else:
        sys.stdout.write(_plan_text(made))
    return 0


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


def _externals(tree: Tree, selection: Selection) -> frozenset[str]:
    """The external bases of the selected images and of all that they are built on."""
    names = {*selection.images, *tree.graph.ancestors(selection.images)}
    return frozenset(text for name in names for text in tree.graph[name].external)


def _plan(
    tree: Tree,
    selection: Selection,
    options: BuildOptions,
    machine: Machine | None,
    resolution: bases.Resolution,
) -> tuple[Plan, Mapping[str, Existing]]:
    graph = tree.graph
    names = graph.in_order({*selection.images, *graph.ancestors(selection.images)})
    keys = dict.fromkeys(names, "")
    forced = options.engine or tree.config.build.engine
    if machine is not None:
        keys = content_keys(
            tree,
            names,
            bases=resolution,
            platform=machine.platform,
            engine_class=machine.engine_class(forced),
        )
    ask = machine if machine is not None and not options.no_reuse else None
    known, existing = known_images(
        tree,
        frozenset(selection.images),
        keys,
        lambda image, key: ask.existing(image, key, tree.refs(image.name)[0]) if ask else None,
    )
    made = make_plan(
        graph,
        selection,
        known,
        commit=tree.revision.commit if tree.revision else "",
        dirty=tree.dirty,
        no_reuse=options.no_reuse,
        remarks=tree.config.remarks,
        assembler=_obstacles(tree, names) if forced in (None, "assembler") else None,
    )
    return made, existing


def _obstacles(tree: Tree, names: Iterable[str]) -> dict[str, str]:
    """Why the assembler cannot make an image; "" where it can."""
    found: dict[str, str] = {}
    for name in names:
        image = tree.graph[name]
        outside = f"{image.external[0]} is no image of this tree" if image.external else ""
        base = image.links.get(image.base or "")
        triggers = tree.graph[base].needs.onbuild if base else ()
        found[name] = obstacle(image.source.parsed, image.needs, triggers) or outside
    return found


def _kept_out_of_engine(plan: Plan, jobs: Mapping[str, Job]) -> dict[str, Job]:
    """The jobs, with word of the images that only the registry has to get.

    Those are assembled, have no test, and nothing of this run is built on them.
    """
    found = dict(jobs)
    needed = {parent for step in plan.steps for parent in step.parents}
    for step in plan.steps:
        job = jobs[step.image]
        if step.action is Action.ASSEMBLE and job.request and not job.tests:
            in_engine = step.image in needed
            found[step.image] = replace(job, request=replace(job.request, in_engine=in_engine))
    return found


def _phases(jobs: Mapping[str, Job], *, push: bool) -> dict[str, list[Phase]]:
    """What is done for each image; what is only reused is neither tested nor published anew."""
    phases: dict[str, list[Phase]] = {}
    for name, job in jobs.items():
        phases[name] = [Phase.BUILD]
        if job.reused is not None:
            continue
        if job.tests:
            phases[name].append(Phase.TEST)
        if push:
            phases[name] += [Phase.PUSH, Phase.TAG]
            if job.moving:
                phases[name].append(Phase.MOVE)
    return phases


def _progress_stream(options: BuildOptions) -> TextIO:
    """Progress is talk, and goes to stderr; JSON is data, and goes to stdout."""
    return sys.stdout if options.progress == "json" else sys.stderr


def _run_id(clock: Clock) -> str:
    at = datetime.fromtimestamp(clock.now(), timezone.utc)
    return f"{at:%Y%m%d-%H%M%S}-{secrets.token_hex(2)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Run:
    """A plan that is ready to be carried out."""

    run_id: str
    plan: Plan
    jobs: Mapping[str, Job]
    steps: tuple[ScheduledStep, ...]
    parallel: int
    started: float
    log_dir: Path
    cancel: threading.Event
    kill: threading.Event

    def carry_out(
        self, tree: Tree, options: BuildOptions, machine: Machine, report: Report, clock: Clock
    ) -> Summary:
        """Work off all steps; the report is written however the run ends."""
        begun = clock.monotonic()
        report(
            RunStarted(
                run_id=self.run_id,
                plan=self.plan,
                jobs=self.parallel,
                log_dir=str(self.log_dir),
                steps=tuple(step.id for step in self.steps if step.pool != GATE),
                at=self.started,
            )
        )
        try:
            results = self._execute(tree, options, machine, report, clock)
        except StepCrashedError as error:
            self._write(self._sum_up(error.results, clock.monotonic() - begun), tree, options)
            raise
        finally:
            machine.daemon.remove_leftovers(self.run_id)
        summary = self._sum_up(results, clock.monotonic() - begun)
        self._write(summary, tree, options)
        report(RunFinished(summary=summary, at=clock.now()))
        return summary

    def _execute(
        self, tree: Tree, options: BuildOptions, machine: Machine, report: Report, clock: Clock
    ) -> Results:
        worker = Worker(
            self.jobs,
            daemon=machine.daemon,
            engines=machine.engines,
            assembler=machine.assembler,
            forced=options.engine or tree.config.build.engine,
            run_id=self.run_id,
            # What is dirty has no commit to stand for it, so its tag is nobody's promise.
            immutable=tree.config.publish.immutable and not tree.dirty,
        )
        return execute(
            self.steps,
            worker,
            limits={BUILD_POOL: self.parallel, PUSH_POOL: PUSHES},
            clock=clock,
            report=report,
            cancel=self.cancel,
            kill=self.kill,
            retry=RetryPolicy(retries=tree.config.build.retries),
            keep_going=options.keep_going,
            room=Room(disk_free=machine.daemon.disk_free, memory_free=available_memory),
        )

    def _sum_up(self, results: Results, seconds: float) -> Summary:
        return summarise(
            self.plan,
            results.finished,
            run_id=self.run_id,
            steps=self.steps,
            jobs=self.parallel,
            started=self.started,
            seconds=seconds,
            interrupted=results.interrupted,
            log_dir=self.log_dir,
        )

    @staticmethod
    def _write(summary: Summary, tree: Tree, options: BuildOptions) -> None:
        write_report(tree.config.root / LAST_REPORT, summary)
        if options.report is not None:
            write_report(options.report, summary)
