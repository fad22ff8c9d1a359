"""Carries out one plan: all steps, then the release; the report is written however that ends."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from functools import partial
from pathlib import Path

from msgspec import Struct
from msgspec.structs import replace

from builder.core.backoff import RetryPolicy
from builder.core.errors import OcbuildError, PublishError
from builder.core.events import Report, RunFinished, RunStarted, Summary
from builder.core.options import BuildOptions
from builder.core.plan import Plan
from builder.core.release import Inputs
from builder.core.schedule import GATE, Task
from builder.core.summary import summarise
from builder.core.tasks import BUILD_POOL, PUSH_POOL
from builder.publish.publication import Publication
from builder.registry.content import Manifest
from builder.report.json_report import write_report
from builder.report.logs import log_path
from builder.run.execute import Results, StepCrashedError, execute
from builder.run.machine import Machine
from builder.run.work import Job, Worker
from builder.system.clock import Clock
from builder.system.resources import Room, available_memory
from builder.tree.read import LAST_REPORT, Tree

PUSHES = 4


class Run(Struct, frozen=True, kw_only=True):
    """A plan that is ready to be carried out."""

    run_id: str
    plan: Plan
    jobs: Mapping[str, Job]
    steps: tuple[Task, ...]
    parallel: int
    started: float
    log_dir: Path
    cancel: threading.Event
    kill: threading.Event
    publication: Publication | None
    inputs: Mapping[str, Inputs]

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
            results, manifests = self._execute(tree, options, machine, report, clock)
            summary = self._sum_up(results, clock.monotonic() - begun)
            if self.publication is not None and summary.exit_code == 0:
                try:
                    summary = self._publish(self.publication, summary, manifests, clock.now())
                except OcbuildError:
                    failed = replace(summary, status="failed", exit_code=PublishError.exit_code)
                    self._write(failed, tree, options)
                    raise
        except StepCrashedError as error:
            self._write(self._sum_up(error.results, clock.monotonic() - begun), tree, options)
            raise
        finally:
            machine.daemon.remove_leftovers(self.run_id)
            if self.publication is not None:
                self.publication.claim.free()
        self._write(summary, tree, options)
        report(RunFinished(summary=summary, at=clock.now()))
        return summary

    def _publish(
        self,
        publication: Publication,
        summary: Summary,
        manifests: Mapping[str, Manifest],
        now: float,
    ) -> Summary:
        """Store the release."""
        release = publication.write(self.plan, summary, self.inputs, manifests, now)
        return replace(summary, release=str(publication.repository.with_tag(release.tag)))

    def _execute(
        self, tree: Tree, options: BuildOptions, machine: Machine, report: Report, clock: Clock
    ) -> tuple[Results, Mapping[str, Manifest]]:
        """How the steps ended, and the manifests of the images that were tagged, by digest."""
        worker = Worker(
            self.jobs,
            daemon=machine.daemon,
            engines=machine.engines,
            assembler=machine.assembler,
            forced=options.engine or tree.config.build.engine,
            run_id=self.run_id,
            # What is dirty has no commit to stand for it, so its tag is nobody's promise.
            immutable=tree.config.publish.immutable and not tree.dirty,
            registry=self.publication.registry if self.publication else None,
            claim=self.publication.claim if self.publication else None,
            recorder=(
                partial(self.publication.recorder, machine.daemon, self.run_id)
                if self.publication is not None
                else None
            ),
        )
        results = execute(
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
        return results, worker.manifests

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
            log_of=lambda image: str(log_path(self.log_dir, image)),
        )

    @staticmethod
    def _write(summary: Summary, tree: Tree, options: BuildOptions) -> None:
        write_report(tree.config.root / LAST_REPORT, summary)
        if options.report is not None:
            write_report(options.report, summary)
