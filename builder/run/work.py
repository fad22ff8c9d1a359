"""Carries out one step for one image: build, test, push under its key, tag."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Generic, TypeVar

from msgspec import Struct
from msgspec.structs import replace

from builder.core.engine.solve import CurrentStep, Output
from builder.core.errors import Bug, BuildError, OcbuildError
from builder.core.events import (
    ASSEMBLER,
    Built,
    Claimed,
    Note,
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
from builder.core.keys import key_tag
from builder.core.labels import BASE_DIGEST
from builder.core.plan import Assemble, Decision, Retag, Reuse
from builder.core.published import other_content
from builder.core.reference import Reference
from builder.docker.daemon import Daemon
from builder.engines import BuildRequest, Engine
from builder.engines.choose import choose
from builder.publish.claim import Claim
from builder.registry.client import Registry
from builder.registry.content import Manifest
from builder.run.workers import Context
from builder.system import threads

if TYPE_CHECKING:
    from builder.engines.assembler import Assembler, InRegistry
    from builder.publish.recording import Recorder

T = TypeVar("T")


class Job(Struct, frozen=True, kw_only=True):
    """What the phases of one image need besides what was decided.

    ``request`` is set where it is made; ``obstacle`` is an error that was found before the run (a
    base that cannot be had): the image fails with it, and the others go on. ``moving`` are the tags
    that are set last of all. ``base`` is the in-tree image that the target stage starts from.
    """

    decision: Decision
    repository: Reference
    tag: str
    moving: tuple[str, ...] = ()
    base: str | None = None
    request: BuildRequest | None = None
    tests: tuple[str, ...] = ()
    timeout: float | None = None
    obstacle: OcbuildError | None = None

    @property
    def image(self) -> str:
        return self.decision.image

    @property
    def key(self) -> str:
        return self.decision.key

    @property
    def release(self) -> str:
        return str(self.repository.with_tag(self.tag))

    @property
    def staged(self) -> Reference:
        """Where the image lies in the registry until the release is published."""
        return self.repository.with_tag(key_tag(self.key))


class Worker:
    """The ``work`` function of a run; called from several threads at once."""

    def __init__(
        self,
        jobs: Mapping[str, Job],
        *,
        daemon: Daemon,
        engines: Callable[[], Sequence[Engine]],
        forced: str | None,
        run_id: str,
        immutable: bool,
        registry: Registry | None = None,
        claim: Claim | None = None,
        recorder: Callable[[], Recorder] | None = None,
        assembler: Assembler | None = None,
    ) -> None:
        """``engines`` and ``recorder`` are asked for when the first image needs an engine."""
        self._jobs = jobs
        self._registry = registry
        self._claim = claim
        # Written by many threads, each its own image; read when all of them have ended.
        self._pushed: dict[str, str] = {}
        self._manifests: dict[str, Manifest] = {}
        self._recorder = _Once(recorder) if recorder is not None else None
        self._daemon = daemon
        self._engines = _Once(engines)
        self._assembler = assembler
        self._forced = forced
        self._run_id = run_id
        self._immutable = immutable

    @property
    def manifests(self) -> Mapping[str, Manifest]:
        """Those of the images that have got a tag, by digest."""
        return self._manifests

    def __call__(self, step: StepId, context: Context) -> Outcome:
        job = self._jobs[step.image]
        if step.phase is Phase.BUILD:
            return self._build(job, step, context)
        if step.phase is Phase.TEST:
            return self._test(job, step, context)
        if step.phase is Phase.PUSH:
            return self._push(job, step, context)
        if step.phase is Phase.CLAIM:
            return self._take_claim(context)
        return self._publish(job, step, context)

    def _build(self, job: Job, step: StepId, context: Context) -> Outcome:
        if job.obstacle is not None:
            raise job.obstacle
        if isinstance(job.decision, Reuse):
            return self._reuse(job.decision)
        if job.request is None:
            raise Bug(f"{job.image} is neither built nor reused")
        request = _with_base_digest(job.request, job.base, context)

        def tell(text: str) -> None:
            context.emit(StepOutput(step=step, line=text))

        engine = choose(request, self._candidates(job), self._forced, tell)

        def sink(output: Output) -> None:
            if isinstance(output, CurrentStep):
                context.emit(StepProgress(step=step, text=output.text))
            else:
                context.emit(StepOutput(step=step, line=output.text))

        result = engine.build(request, sink, context.cancel)
        return Built(
            image_id=result.image_id, size=result.size, engine=engine.name, cached=result.cached
        )

    def _candidates(self, job: Job) -> Iterator[Engine]:
        if self._assembler is not None and (isinstance(job.decision, Assemble) or self._forced):
            yield self._assembler
        yield from self._engines()

    def _reuse(self, image: Reuse) -> Outcome:
        if image.image_id:
            self._daemon.tag(image.image_id, image.reference)
        return Reused(reference=image.reference)

    def _test(self, job: Job, step: StepId, context: Context) -> Outcome:
        def sink(line: str) -> None:
            context.emit(StepOutput(step=step, line=line))

        for command in job.tests:
            context.emit(StepProgress(step=step, text=command))
            context.emit(StepOutput(step=step, line=f"$ {command}"))
            code = self._daemon.run_test(
                _built(job, context),
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
        stored = self._store(job)
        if stored is not None:
            digest = stored.manifest.digest
            self._pushed[job.image] = digest
            self._manifests[digest] = stored.manifest
            return Pushed(digest=digest, uploaded=stored.uploaded)
        pushed = self._stage(job, step, context)
        self._pushed[job.image] = pushed.digest
        # It is looked at again with the claim; but long before that where builds take their time.
        self._refuse_other_content(job)
        return pushed

    def _store(self, job: Job) -> InRegistry | None:
        """Store an image that was assembled: under its key, or its blobs alone where it is held."""
        if self._assembler is None:
            return None
        if isinstance(job.decision, Assemble) and job.decision.bare:
            return self._assembler.upload(job.release, job.repository)
        return self._assembler.store(job.release, job.staged)

    def _stage(self, job: Job, step: StepId, context: Context) -> Pushed:
        """Push what this run has built, whatever the name of the release means by now."""
        from builder.engines.staging import staged  # noqa: PLC0415 - only for builds

        def progress(current: int, total: int) -> None:
            context.emit(StepProgress(step=step, text="uploading", current=current, total=total))

        local = _built(job, context)
        with staged(
            self._daemon,
            local,
            str(job.staged),
            run_id=self._run_id,
            progress=progress,
            cancel=context.cancel,
        ) as pushed:
            self._record(job, local, pushed.digest, context)
        return Pushed(digest=pushed.digest, uploaded=pushed.uploaded)

    def _record(self, job: Job, local: str, digest: str, context: Context) -> None:
        """Note what the image has of packages, so that nobody has to pull it to know."""
        if self._recorder is not None:
            recorded = self._recorder().record(
                job.image, job.repository.at(digest), local=local, base=job.base or ""
            )
            for text in recorded.held:
                context.emit(Note(text=text))

    def _refuse_other_content(self, job: Job) -> None:
        """Seen before any tag of this release is set, so that all of them stay as they are."""
        if not self._promises(job):
            return
        digest = self._digest(job)
        there = self._remote.head(job.repository.with_tag(job.tag))
        if there is not None and there.digest != digest:
            raise other_content(job.release, there.digest, digest)

    def _promises(self, job: Job) -> bool:
        """Whether the image's tag must not come to mean anything else than it does."""
        is_reused = isinstance(job.decision, Reuse)
        return self._immutable and bool(self._digest(job)) and not is_reused

    def _digest(self, job: Job) -> str:
        known = job.decision.digest if isinstance(job.decision, Reuse | Retag) else ""
        return self._pushed.get(job.image, known)

    def _take_claim(self, context: Context) -> Outcome:
        """Be the only one who publishes, and see that nobody was quicker."""
        if self._claim is None:
            raise Bug("there is no claim to take")
        self._claim.take(lambda text: context.emit(Note(text=text)))
        threads.each(self._refuse_other_content, filter(self._promises, self._jobs.values()))
        return Claimed()

    def _publish(self, job: Job, step: StepId, context: Context) -> Outcome:
        """Set tags with a request each: what they name is in the registry already."""
        pushed = context.needed.get(StepId(Phase.PUSH, job.image))
        digest = pushed.digest if isinstance(pushed, Pushed) else self._digest(job)
        manifest = self._manifests.get(digest)
        if manifest is None:
            manifest = self._remote.manifest(job.repository.at(digest))
            self._manifests[digest] = manifest
        tags = (job.tag,) if step.phase is Phase.TAG else job.moving
        references = tuple(job.repository.with_tag(tag) for tag in tags)
        for reference in references:
            # The assembler can bring what the repository turns out to lack after all.
            if self._assembler is None or self._assembler.store(job.release, reference) is None:
                self._remote.put(reference, manifest)
        return Tagged(references=tuple(str(reference) for reference in references))

    @property
    def _remote(self) -> Registry:
        if self._registry is None:
            raise Bug("there is no registry to publish to")
        return self._registry


class _Once(Generic[T]):
    """Makes a thing when it is first asked for, by whichever thread."""

    def __init__(self, make: Callable[[], T]) -> None:
        self._make = make
        self._made: list[T] = []
        self._lock = threading.Lock()

    def __call__(self) -> T:
        with self._lock:
            if not self._made:
                self._made.append(self._make())
            return self._made[0]


def _built(job: Job, context: Context) -> str:
    """What the engine calls the image of this run; another run can take the release's name.

    An image of the assembler needs no more than that name: every run makes the same.
    """
    built = context.needed.get(StepId(Phase.BUILD, job.image))
    if not isinstance(built, Built):
        raise Bug(f"{job.image} is to be used before it is built")
    return job.release if built.engine == ASSEMBLER else built.image_id


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
