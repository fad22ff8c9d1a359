"""Does one task: makes, tests, pushes or tags one image, or takes the claim for all of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from msgspec.structs import replace

from builder.core.engine.statuses import CurrentStep, Output
from builder.core.errors import Bug, BuildError, OcbuildError
from builder.core.events import (
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
from builder.core.keys import BASE_DIGEST, key_tag
from builder.core.plan import Assemble, Decision, Plan, Retag, Reuse
from builder.core.reference import Reference
from builder.core.release import Inputs
from builder.docker.daemon import Daemon
from builder.engines import BuildRequest, BuildResult, Maker, StorableResult
from builder.publish import MadeImage, Publisher
from builder.run.workers import Context


class TaskRunner:
    """The work function of a run; called from several threads at once.

    ``requests`` are those of the images that are made, or why that cannot even be tried (a base
    that cannot be had): the image fails with it, and the others go on. ``tests`` are the commands
    by image, ``inputs`` what the keys are made of. Without ``publisher`` nothing is published.
    ``remember`` is told the id of an image that the Docker Engine has now, its key, and the tests
    that it has passed.
    """

    def __init__(
        self,
        plan: Plan,
        requests: Mapping[str, BuildRequest | OcbuildError],
        tests: Mapping[str, tuple[str, ...]],
        *,
        daemon: Daemon,
        maker: Maker,
        publisher: Publisher | None,
        run_id: str,
        inputs: Mapping[str, Inputs],
        remember: Callable[[str, str, str], None],
    ) -> None:
        self._decisions = {step.image: step for step in plan.steps}
        self._requests = requests
        self._tests = tests
        self._daemon = daemon
        self._maker = maker
        self._optional_publisher = publisher
        self._run_id = run_id
        self._inputs = inputs
        self._remember = remember
        # Written by many threads, each for its own image, before a task that reads it can start.
        self._made: dict[str, BuildResult] = {}

    def __call__(self, step: StepId, context: Context) -> Outcome:
        decision = self._decisions[step.image]
        match step.phase:
            case Phase.BUILD:
                return self._build(decision, step, context)
            case Phase.TEST:
                return self._test(decision, step, context)
            case Phase.PUSH:
                return self._push(decision, step, context)
            case Phase.CLAIM:
                self._publisher.claim(lambda text: context.emit(Note(text=text)))
                return Claimed()
            case Phase.TAG:
                return self._tag(decision, (decision.tag,), context)
            case Phase.MOVE:
                return self._tag(decision, decision.moving, context)

    def _build(self, decision: Decision, step: StepId, context: Context) -> Outcome:
        if isinstance(decision, Reuse):
            names = decision.refs if decision.selected else (decision.reference,)
            for name in names if decision.image_id else ():
                self._daemon.tag(decision.image_id, name)
            return Reused(reference=decision.reference)

        def sink(output: Output) -> None:
            if isinstance(output, CurrentStep):
                context.emit(StepProgress(step=step, text=output.text))
            else:
                context.emit(StepOutput(step=step, line=output.text))

        request = self._request(decision)
        result = self._maker.make(_with_base_digest(request, context), sink, context.cancel)
        self._made[decision.image] = result
        if not self._tests.get(decision.image):
            self._remember_made(decision)
        return Built(
            image_id=result.image_id,
            size=result.size,
            engine=result.engine,
            cached=result.cached,
        )

    def _request(self, decision: Decision) -> BuildRequest:
        request = self._requests.get(decision.image)
        if isinstance(request, OcbuildError):
            raise request
        if request is None:
            raise Bug(f"{decision.image} is neither built nor reused")
        return request

    def _test(self, decision: Decision, step: StepId, context: Context) -> Outcome:
        def sink(line: str) -> None:
            context.emit(StepOutput(step=step, line=line))

        result = self._result(decision)
        local = result.local or result.image_id
        commands = self._tests[decision.image]
        for command in commands:
            context.emit(StepProgress(step=step, text=command))
            context.emit(StepOutput(step=step, line=f"$ {command}"))
            code = self._daemon.run_test(
                local,
                command,
                timeout=self._request(decision).timeout,
                sink=sink,
                cancel=context.cancel,
                run_id=self._run_id,
            )
            if code != 0:
                raise BuildError(
                    f"the test `{command}` ended with exit code {code}",
                    hint=f"docker run --rm -it --entrypoint sh {decision.release}",
                )
        self._remember_made(decision)
        return Tested(commands=len(commands))

    def _remember_made(self, decision: Decision) -> None:
        """Note what the Docker Engine has now, once there is no test that it may fail."""
        if self._request(decision).in_engine:
            tests = self._inputs[decision.image].tests
            self._remember(self._result(decision).image_id, decision.key, tests)

    def _push(self, decision: Decision, step: StepId, context: Context) -> Outcome:
        def progress(current: int, total: int) -> None:
            context.emit(StepProgress(step=step, text="uploading", current=current, total=total))

        tests = self._inputs[decision.image].tests
        image = MadeImage(
            name=decision.image,
            release=decision.release,
            staged=decision.repository.with_tag(key_tag(decision.key, tests)),
            local="",
        )
        if isinstance(decision, Reuse):
            image = replace(image, local=decision.image_id, base=decision.base)
        else:
            result = self._result(decision)
            image = replace(
                image,
                local=result.local or result.image_id,
                base=self._request(decision).base,
                blobs=result.blobs if isinstance(result, StorableResult) else None,
                bare=isinstance(decision, Assemble) and decision.bare,
            )
        return self._publisher.push(image, progress, lambda text: context.emit(Note(text=text)))

    def _tag(self, decision: Decision, tags: tuple[str, ...], context: Context) -> Outcome:
        pushed = context.needed.get(StepId(Phase.PUSH, decision.image))
        if isinstance(pushed, Pushed):
            digest = pushed.digest
        elif isinstance(decision, Reuse | Retag):
            digest = decision.digest
        else:
            raise Bug(f"{decision.image} is to be tagged before it is pushed")
        targets = tuple(decision.repository.with_tag(tag) for tag in tags)
        named = {self._publisher.tag(target, digest) for target in targets} - {digest}
        references = tuple(str(target) for target in targets)
        return Tagged(references=references, digest=min(named, default=""))

    def _result(self, decision: Decision) -> BuildResult:
        """The image of this run."""
        result = self._made.get(decision.image)
        if result is None:
            raise Bug(f"{decision.image} is to be used before it is built")
        return result

    @property
    def _publisher(self) -> Publisher:
        if self._optional_publisher is None:
            raise Bug("there is no registry to publish to")
        return self._optional_publisher


def _with_base_digest(request: BuildRequest, context: Context) -> BuildRequest:
    """Say in the labels which parent this is, which nobody knew before the parent was made."""
    parent = context.needed.get(StepId(Phase.BUILD, request.base)) if request.base else None
    if isinstance(parent, Built):
        digest = parent.image_id
    elif isinstance(parent, Reused):
        digest = Reference.parse(parent.reference).digest
    else:
        return request
    return replace(request, labels={**request.labels, BASE_DIGEST: digest})
