"""Carries out one step for one image: build, test, push under its key, tag."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from builder.engines import BuildRequest, CurrentStep, Engine, Output
from builder.engines.choose import choose
from builder.engines.daemon import Daemon
from builder.errors import Bug, BuildError, OcbuildError, PublishError
from builder.events import (
    Built,
    Outcome,
    Phase,
    Pushed,
    Reused,
    StepId,
    StepOutput,
    StepProgress,
    Tagged,
    Tested,
)
from builder.execute import Context
from builder.keys import key_tag
from builder.labels import BASE_DIGEST
from builder.reference import Reference

if TYPE_CHECKING:
    from builder.engines.assembler import Assembler


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """All that the steps of one image need.

    ``request`` is None for an image that is only reused; ``reused`` then is the reference under
    which its children find it, and ``reused_id`` the engine's image that still has to be given
    that name, if it is the engine that has it. ``obstacle`` is an error that was found before the
    run (a base that cannot be had): the image fails with it, and the others go on.
    ``moving`` are the tags that are set last of all. ``base`` is the in-tree image that the target
    stage starts from.
    """

    image: str
    repository: Reference
    key: str
    tag: str
    moving: tuple[str, ...] = ()
    base: str | None = None
    request: BuildRequest | None = None
    reused: str | None = None
    reused_id: str = ""
    tests: tuple[str, ...] = ()
    timeout: float | None = None
    obstacle: OcbuildError | None = None

    @property
    def release(self) -> str:
        return str(self.repository.with_tag(self.tag))

    @property
    def staged(self) -> str:
        """Where the image lies in the registry until the release is published."""
        return str(self.repository.with_tag(key_tag(self.key)))


class Worker:
    """The ``work`` function of a run; called from several threads at once."""

    def __init__(
        self,
        jobs: Mapping[str, Job],
        *,
        daemon: Daemon,
        engines: Sequence[Engine],
        forced: str | None,
        run_id: str,
        immutable: bool,
        assembler: Assembler | None = None,
    ) -> None:
        self._jobs = jobs
        self._daemon = daemon
        self._engines = engines if assembler is None else (assembler, *engines)
        self._assembler = assembler
        self._forced = forced
        self._run_id = run_id
        self._immutable = immutable

    def __call__(self, step: StepId, context: Context) -> Outcome:
        job = self._jobs[step.image]
        if step.phase is Phase.BUILD:
            return self._build(job, step, context)
        if step.phase is Phase.TEST:
            return self._test(job, step, context)
        if step.phase is Phase.PUSH:
            return self._push(job, step, context)
        return self._publish(job, step, context)

    def _build(self, job: Job, step: StepId, context: Context) -> Outcome:
        if job.obstacle is not None:
            raise job.obstacle
        if job.request is None:
            return self._reuse(job)
        request = _with_base_digest(job.request, job.base, context)

        def tell(text: str) -> None:
            context.emit(StepOutput(step=step, line=text))

        engine = choose(request, self._engines, self._forced, tell)

        def sink(output: Output) -> None:
            if isinstance(output, CurrentStep):
                context.emit(StepProgress(step=step, text=output.text))
            else:
                context.emit(StepOutput(step=step, line=output.text))

        result = engine.build(request, sink, context.cancel)
        return Built(
            image_id=result.image_id, size=result.size, engine=engine.name, cached=result.cached
        )

    def _reuse(self, job: Job) -> Outcome:
        if job.reused is None:
            raise Bug(f"{job.image} is neither built nor reused")
        if job.reused_id:
            self._daemon.tag(job.reused_id, job.reused)
        return Reused(reference=job.reused)

    def _test(self, job: Job, step: StepId, context: Context) -> Outcome:
        def sink(line: str) -> None:
            context.emit(StepOutput(step=step, line=line))

        for command in job.tests:
            context.emit(StepProgress(step=step, text=command))
            context.emit(StepOutput(step=step, line=f"$ {command}"))
            code = self._daemon.run_test(
                job.release,
                command,
                timeout=job.timeout,
                sink=sink,
                cancel=context.cancel,
                run_id=self._run_id,
            )
            if code != 0:
                raise BuildError(
                    f"the test `{command}` ended with exit code {code}",
                    hint=f"docker run --rm -it --entrypoint sh {job.release}",
                )
        return Tested(commands=len(job.tests))

    def _push(self, job: Job, step: StepId, context: Context) -> Outcome:
        pushed = self._store(job, job.staged)
        if pushed is None:
            self._daemon.tag(job.release, job.staged)
            try:
                pushed = self._push_tag(job.staged, step, context)
            finally:
                self._daemon.untag(job.staged)
        if self._immutable:
            self._refuse_other_content(job, pushed.digest)
        return pushed

    def _refuse_other_content(self, job: Job, digest: str) -> None:
        """Seen before any tag of this release is set, so that all of them stay as they are."""
        published = self._daemon.remote_digest(job.release)
        if published not in (None, digest):
            raise PublishError(
                f"{job.release} is published already, and with other content:"
                f" {published} there, {digest} here",
                hint="a release tag never changes its content: make a new commit, or overwrite it"
                " with --set publish.immutable=false",
            )

    def _publish(self, job: Job, step: StepId, context: Context) -> Outcome:
        tags = (job.tag,) if step.phase is Phase.TAG else job.moving
        references = tuple(str(job.repository.with_tag(tag)) for tag in tags)
        for reference in references:
            stored = self._store(job, reference)
            if reference != job.release and (stored is None or _in_engine(job)):
                self._daemon.tag(job.release, reference)
            if stored is None:
                self._push_tag(reference, step, context)
        return Tagged(references=references)

    def _store(self, job: Job, reference: str) -> Pushed | None:
        """Store what the assembler made without the engine; None where it was not the assembler."""
        if self._assembler is None:
            return None
        stored = self._assembler.store(job.release, reference)
        return None if stored is None else Pushed(digest=stored.digest, uploaded=stored.uploaded)

    def _push_tag(self, reference: str, step: StepId, context: Context) -> Pushed:
        def progress(current: int, total: int) -> None:
            context.emit(StepProgress(step=step, text="uploading", current=current, total=total))

        pushed = self._daemon.push(reference, progress, context.cancel)
        return Pushed(digest=pushed.digest, uploaded=pushed.uploaded)


def _in_engine(job: Job) -> bool:
    return job.request is not None and job.request.in_engine


def _with_base_digest(request: BuildRequest, base: str | None, context: Context) -> BuildRequest:
    """Say in the labels which parent this is, which nobody knew before the parent was made."""
    parent = context.needed.get(StepId(Phase.BUILD, base)) if base else None
    if isinstance(parent, Built):
        digest = parent.image_id
    elif isinstance(parent, Reused):
        digest = Reference.parse(parent.reference).digest
    else:
        return request
    return replace(request, labels={**request.labels, BASE_DIGEST: digest})
