"""One run of a plan: all its tasks, then the release; the report is written however that ends."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime, timezone
from pathlib import Path

from msgspec import Struct
from msgspec.structs import replace

from builder.core.engine.request import Circumstances, make_requests
from builder.core.errors import InterruptedRunError, OcbuildError
from builder.core.events import Note, Report, RunFinished, RunStarted, Summary
from builder.core.new_release import Renewal
from builder.core.options import BuildOptions
from builder.core.plan import Plan
from builder.core.registry_content import Manifest
from builder.core.release import Inputs
from builder.core.schedule import GATE, RetryPolicy, Task
from builder.core.settings.config import Config
from builder.core.summary import summarise
from builder.core.tasks import BUILD_POOL, PUSH_POOL, connect, phases
from builder.docker.daemon import Daemon
from builder.engines import Maker
from builder.engines.choose import ca_bundle, maker
from builder.publish import Publisher
from builder.publish.images import open_publisher
from builder.publish.write import ReleaseWriter
from builder.report.files import log_path, open_logs, write_report
from builder.report.streams import fanout, open_progress
from builder.run.execute import Results, execute, signals
from builder.run.facts import Gathered, Sources
from builder.run.task import TaskRunner
from builder.run.workers import Work
from builder.system.files import (
    expected_durations,
    known_images,
    load_durations,
    own_folder,
    state_dir,
)
from builder.system.resources import Clock, Room, SystemClock, available_memory
from builder.tree.read import LAST_REPORT, Tree

PUSHES = 4
DURATIONS = "durations.json"


class RunSession(Struct, frozen=True, kw_only=True):
    """One run as others know it: its name, its times, who hears of it, and how it is stopped.

    ``expected`` are the seconds that the build of each image should take.
    """

    run_id: str
    started: float
    log_dir: Path
    expected: Mapping[str, float]
    clock: Clock
    report: Report
    cancel: threading.Event
    kill: threading.Event

    @property
    def holder(self) -> str:
        """What other runs are told of this one."""
        return f"run {self.run_id} on {os.uname().nodename}"

    def tell(self, text: str) -> None:
        self.report(Note(text=text))


@contextmanager
def open_session(
    tree: Tree, options: BuildOptions, environ: Mapping[str, str]
) -> Iterator[RunSession]:
    """A new run: whom it tells, and the signals that stop it."""
    clock = SystemClock()
    started = clock.now()
    at = datetime.fromtimestamp(started, timezone.utc)
    run_id = f"{at:%Y%m%d-%H%M%S}-{os.urandom(2).hex()}"
    log_dir = own_folder(tree.config.root) / "runs" / run_id
    known = load_durations(state_dir(environ) / DURATIONS)
    expected = expected_durations(known, tree.graph.order)
    cancel, kill = threading.Event(), threading.Event()
    # Progress is talk, and goes to stderr; JSON is data, and goes to stdout.
    stream = sys.stdout if options.progress == "json" else sys.stderr
    with (
        signals(cancel, kill),
        open_progress(
            options.progress, stream, environ=environ, clock=clock, expected=expected
        ) as progress,
        open_logs(log_dir) as logs,
    ):
        yield RunSession(
            run_id=run_id,
            started=started,
            log_dir=log_dir,
            expected=expected,
            clock=clock,
            report=fanout(logs, progress),
            cancel=cancel,
            kill=kill,
        )


class Run(Struct, frozen=True, kw_only=True):
    """A plan that is ready to be carried out; without ``writer`` nothing is published.

    ``manifests`` are those of the images that have got a tag by then, ``inputs`` what the keys were
    made of.
    """

    session: RunSession
    tree: Tree
    options: BuildOptions
    plan: Plan
    tasks: tuple[Task, ...]
    work: Work
    daemon: Daemon
    writer: ReleaseWriter | None
    manifests: Mapping[str, Manifest]
    inputs: Mapping[str, Inputs]

    @property
    def parallel(self) -> int:
        return _parallel(self.tree.config, self.options.jobs)

    def carry_out(self) -> Summary:
        """Work off all tasks; the report is written however the run ends."""
        session = self.session
        begun = session.clock.monotonic()
        session.report(
            RunStarted(
                run_id=session.run_id,
                plan=self.plan,
                jobs=self.parallel,
                log_dir=str(session.log_dir),
                steps=tuple(task.id for task in self.tasks if task.pool != GATE),
                at=session.started,
            )
        )
        with self._released():
            summary = self._sum_up(self._execute(), begun)
            if self.writer is not None and summary.exit_code == 0:
                summary = self._publish(self.writer, summary)
        session.report(RunFinished(summary=summary, at=session.clock.now()))
        self._write(summary)
        return summary

    @contextmanager
    def _released(self) -> Iterator[None]:
        """In the end leave nothing of the run to the engine, and the claim to others."""
        try:
            yield
        finally:
            self._clean_up("the containers of this run stay", self._remove_containers)
            if self.writer is not None:
                self._clean_up("others have to wait for a minute", self.writer.claim.free)

    def _remove_containers(self) -> None:
        self.daemon.remove_leftovers(self.session.run_id)

    def _clean_up(self, otherwise: str, step: Callable[[], None]) -> None:
        """Do what changes nothing of what was published: that it fails is worth a line."""
        try:
            step()
        except OcbuildError as error:
            self.session.tell(f"{error.message}; {otherwise}")

    def _publish(self, writer: ReleaseWriter, summary: Summary) -> Summary:
        try:
            now = self.session.clock.now()
            place = writer.write(
                self.plan, summary, self.inputs, self.manifests, now=now, tell=self.session.tell
            )
        except OcbuildError as error:
            self.session.tell(str(error))
            stopped = isinstance(error, InterruptedRunError)
            status = "interrupted" if stopped else "failed"
            return replace(summary, status=status, exit_code=error.exit_code)
        return replace(summary, release=str(place))

    def _execute(self) -> Results:
        return execute(
            self.tasks,
            self.work,
            limits={BUILD_POOL: self.parallel, PUSH_POOL: PUSHES},
            clock=self.session.clock,
            report=self.session.report,
            cancel=self.session.cancel,
            kill=self.session.kill,
            retry=RetryPolicy(retries=self.tree.config.build.retries),
            keep_going=self.options.keep_going,
            room=Room(disk_free=self.daemon.disk_free, memory_free=available_memory),
        )

    def _sum_up(self, results: Results, begun: float) -> Summary:
        session = self.session
        return summarise(
            self.plan,
            results.finished,
            run_id=session.run_id,
            steps=self.tasks,
            jobs=self.parallel,
            started=session.started,
            seconds=session.clock.monotonic() - begun,
            interrupted=results.interrupted,
            log_of=lambda image: str(log_path(session.log_dir, image)),
        )

    def _write(self, summary: Summary) -> None:
        write_report(self.tree.config.root / LAST_REPORT, summary)
        if self.options.report is not None:
            write_report(self.options.report, summary)


def prepare(
    session: RunSession,
    sources: Sources,
    plan: Plan,
    gathered: Gathered,
    *,
    daemon: Daemon,
    writer: ReleaseWriter | None,
    renewal: Renewal | None,
    environ: Mapping[str, str],
) -> Run:
    """A run of this plan, with whom it asks for images and who publishes them.

    Raises:
        InputError: a file that the requests name is not there, or a target has no name.

    """
    tree, options = sources.tree, sources.options
    publisher = None
    if writer is not None:
        publisher = _publisher(writer, sources, plan, session, daemon, renewal=renewal)
    tests = {step.image: tree.config.image(step.image).test for step in plan.steps}
    work = TaskRunner(
        plan,
        make_requests(plan, _circumstances(sources, gathered, renewal, environ)),
        tests,
        daemon=daemon,
        maker=_maker(sources, daemon, environ),
        publisher=publisher,
        run_id=session.run_id,
        inputs=gathered.inputs,
        remember=known_images(environ).add,
    )
    tested = [image for image, commands in tests.items() if commands]
    return Run(
        session=session,
        tree=tree,
        options=options,
        plan=plan,
        tasks=connect(plan, phases(plan, tested, push=options.push), session.expected),
        work=work,
        daemon=daemon,
        writer=writer,
        manifests=publisher.manifests if publisher else {},
        inputs=gathered.inputs,
    )


def _publisher(
    writer: ReleaseWriter,
    sources: Sources,
    plan: Plan,
    session: RunSession,
    daemon: Daemon,
    *,
    renewal: Renewal | None,
) -> Publisher:
    return open_publisher(
        writer.registry,
        daemon,
        writer.claim,
        plan,
        immutable=sources.immutable,
        adopts=sources.asks_registry,  # who has an image made anew wants that one
        hoped_for=renewal.hoped_for if renewal else {},
        run_id=session.run_id,
        cancel=session.cancel,
    )


def _maker(sources: Sources, daemon: Daemon, environ: Mapping[str, str]) -> Maker:
    return maker(
        daemon,
        environ,
        platform=sources.platform,
        plain_http=frozenset(sources.tree.config.publish.plain_http),
        forced=sources.forced,
    )


def _circumstances(
    sources: Sources, gathered: Gathered, renewal: Renewal | None, environ: Mapping[str, str]
) -> Circumstances:
    tree, options = sources.tree, sources.options
    build, revision = tree.config.build, tree.revision
    no_cache = renewal.stale.keys() if renewal else ()
    return Circumstances(
        config=tree.config,
        graph=tree.graph,
        bases=gathered.resolution,
        contexts=gathered.contexts,
        commit=revision.commit if revision else "",
        committed_at=revision.committed_at if revision else None,
        proxies=sources.proxies,
        ca_bundle=ca_bundle(build.ca_bundle, environ),
        no_cache=frozenset(tree.graph.images if options.no_cache else no_cache),
        push=options.push,
    )


def _parallel(config: Config, asked: int | None) -> int:
    return asked or config.build.jobs or os.cpu_count() or 1
