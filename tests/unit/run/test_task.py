"""What each task of an image does, with a maker, a publisher and an engine that only take notes."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import pytest
from msgspec import Struct, field
from msgspec.structs import replace

from builder.core.dockerfile.parse import parse
from builder.core.engine.statuses import CurrentStep, OutputLine, Sink
from builder.core.errors import Bug, BuildError
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
    Tested as Passed,
)
from builder.core.keys import BASE_DIGEST
from builder.core.plan import Action, Decision, Plan, Reuse
from builder.core.reference import Reference
from builder.core.release import Inputs
from builder.docker.daemon import Daemon
from builder.engines import BuildRequest, BuildResult
from builder.publish import MadeImage, Publisher
from builder.run.task import TaskRunner
from builder.run.workers import Context
from tests.support.decisions import DIGEST, decision

BUILD, TEST, PUSH, CLAIM, TAG, MOVE = Phase


class Notes(Struct):
    """A maker, a publisher and an engine at once; ``code`` is what tests end with."""

    log: list[str] = field(default_factory=list)
    requests: list[BuildRequest] = field(default_factory=list)
    images: list[MadeImage] = field(default_factory=list)
    result: BuildResult = BuildResult(image_id="sha256:made", size=7, engine="fake", cached=True)
    code: int = 0
    tests: str = ""
    known: list[tuple[str, ...]] = field(default_factory=list)
    manifests: Mapping[str, Any] = field(default_factory=dict)

    def make(self, request: BuildRequest, sink: Sink, cancel: threading.Event) -> BuildResult:
        sink(CurrentStep(text="[1/1] RUN"))
        sink(OutputLine(text="made"))
        self.requests.append(request)
        return self.result

    def push(self, image: MadeImage, progress: Any, tell: Callable[[str], None]) -> Pushed:
        progress(1, 2)
        tell("pushed")
        self.images.append(image)
        return Pushed(digest="sha256:pushed", uploaded=2)

    def claim(self, tell: Callable[[str], None]) -> None:
        tell("claimed")

    def run_test(self, image: str, command: str, *, sink: Callable[[str], None], **_: Any) -> int:
        self.log.append(f"test {image}: {command}")
        sink("output")
        return self.code

    def tag(self, reference: object, target: str) -> str:
        self.log.append(f"tag {reference} {target}")
        return target


class Runs:
    """One task after another, each with the outcomes of those before it."""

    def __init__(self, *steps: Decision, notes: Notes | None = None, **changes: Any) -> None:
        self.notes = notes or Notes()
        self.events: list[object] = []
        self.outcomes: dict[StepId, Outcome] = {}
        self._runner = TaskRunner(
            Plan(commit="", dirty=False, steps=steps),
            {"app": request(), **changes.pop("requests", {})},
            {"app": ("one", "two")},
            daemon=cast("Daemon", self.notes),
            maker=self.notes,
            publisher=changes.pop("publisher", cast("Publisher", self.notes)),
            run_id="run",
            inputs={"app": Inputs(recipe="", tests=self.notes.tests), "base": Inputs(recipe="")},
            remember=lambda *known: self.notes.known.append(known),
        )

    def __call__(self, phase: Phase, image: str = "app") -> Outcome:
        step = StepId(phase, image)
        context = Context(
            emit=self.events.append, cancel=threading.Event(), needed=dict(self.outcomes)
        )
        self.outcomes[step] = self._runner(step, context)
        return self.outcomes[step]


def request(name: str = "app", base: str = "") -> BuildRequest:
    return BuildRequest(
        image=name,
        context=Path("/tree"),
        dockerfile=Path("/tree/Dockerfile"),
        dockerfile_label="app/Dockerfile",
        tags=(f"{name}:1",),
        parsed=parse(b"FROM scratch\n", "app/Dockerfile"),
        base=base,
    )


def kinds(events: Sequence[object]) -> list[type]:
    return [type(event) for event in events]


def test_a_build_is_asked_for_and_what_the_maker_says_is_told() -> None:
    runs = Runs(decision("app"))
    assert runs(BUILD) == Built(image_id="sha256:made", size=7, engine="fake", cached=True)
    assert kinds(runs.events) == [StepProgress, StepOutput]


def test_a_base_that_cannot_be_had_fails_its_image() -> None:
    error = BuildError("no base")
    with pytest.raises(BuildError, match="no base"):
        Runs(decision("app"), requests={"app": error})(BUILD)


@pytest.mark.parametrize("image_id", ["", "sha256:local"])
def test_what_the_engine_has_gets_the_name_that_its_children_know(image_id: str) -> None:
    runs = Runs(replace(decision("base", action=Action.REUSE, selected=False), image_id=image_id))
    assert runs(BUILD, "base") == Reused(reference=f"base@{DIGEST}")
    assert runs.notes.log == ([f"tag sha256:local base@{DIGEST}"] if image_id else [])


@pytest.mark.parametrize("reused", [True, False])
def test_the_label_of_the_base_says_which_one_it_turned_out_to_be(*, reused: bool) -> None:
    digest = f"sha256:{'b' * 64}"
    base = decision("base")
    if reused:
        base = replace(decision("base", action=Action.REUSE), reference=f"reg/base@{digest}")
    runs = Runs(base, decision("app", "base"), requests={"app": request(base="base")})
    runs.outcomes[StepId(BUILD, "base")] = (
        Reused(reference=f"reg/base@{digest}")
        if reused
        else Built(image_id=digest, size=1, engine="fake")
    )
    runs(BUILD)
    assert runs.notes.requests[0].labels == {BASE_DIGEST: digest}
    alone = Runs(decision("app"))
    alone(BUILD)
    assert alone.notes.requests[0].labels == {}


@pytest.mark.parametrize("local", ["", "app:1"])
def test_tests_run_in_the_image_of_this_run(local: str) -> None:
    notes = Notes(result=BuildResult(image_id="sha256:made", size=1, local=local))
    runs = Runs(decision("app"), notes=notes)
    runs(BUILD)
    assert runs(TEST) == Passed(commands=2)
    name = local or "sha256:made"
    assert notes.log == [f"test {name}: one", f"test {name}: two"]
    notes.code = 3
    with pytest.raises(BuildError, match="the test `one` ended with exit code 3") as caught:
        runs(TEST)
    assert caught.value.hint == "docker run --rm -it --entrypoint sh app:1"


@pytest.mark.parametrize("bare", [True, False])
def test_an_image_is_pushed_with_all_its_names(*, bare: bool) -> None:
    step = replace(decision("app", action=Action.ASSEMBLE, key="k" * 64), bare=bare)
    runs = Runs(step, requests={"app": request(base="base")})
    runs(BUILD)
    assert runs(PUSH) == Pushed(digest="sha256:pushed", uploaded=2)
    place = Reference.parse("app")
    assert runs.notes.images == [
        MadeImage(
            name="app",
            release=place.with_tag("1"),
            staged=place.with_tag(f"key-{'k' * 40}"),
            local="sha256:made",
            base="base",
            bare=bare,
        )
    ]
    assert kinds(runs.events)[-2:] == [StepProgress, Note]


def test_what_was_pushed_gets_its_tag_and_then_the_moving_ones() -> None:
    runs = Runs(replace(decision("app"), moving=("latest", "nightly")))
    runs(BUILD)
    runs(PUSH)
    assert runs(TAG) == Tagged(references=("app:1",))
    assert runs(MOVE) == Tagged(references=("app:latest", "app:nightly"))
    assert [line.rpartition(" ")[2] for line in runs.notes.log] == ["sha256:pushed"] * 3


def test_what_the_registry_has_gets_its_tag() -> None:
    runs = Runs(decision("app", action=Action.RETAG))
    assert runs(TAG) == Tagged(references=("app:1",))
    assert runs.notes.log == [f"tag app:1 {DIGEST}"]


def test_the_claim_is_taken_by_one_for_all() -> None:
    runs = Runs(decision("app"))
    assert runs(CLAIM) == Claimed()
    assert runs.events == [Note(text="claimed")]


@pytest.mark.parametrize("phase", [PUSH, TEST, TAG])
def test_what_is_not_built_can_be_neither_tested_nor_published(phase: Phase) -> None:
    with pytest.raises(Bug):
        Runs(decision("app"))(phase)


def test_without_a_publisher_nothing_is_published() -> None:
    with pytest.raises(Bug, match="there is no registry to publish to"):
        Runs(decision("app"), publisher=None)(CLAIM)


def test_what_is_neither_built_nor_reused_is_a_bug() -> None:
    with pytest.raises(Bug, match="web is neither built nor reused"):
        Runs(decision("web"))(BUILD, "web")


# -- what this machine knows to be there --------------------------------------------------------


def test_an_image_without_tests_is_remembered_as_soon_as_it_is_made() -> None:
    runs = Runs(decision("base", key="k"), requests={"base": request("base")})
    runs(BUILD, "base")
    assert runs.notes.known == [("sha256:made", "k", "")]


def test_an_image_is_remembered_with_the_tests_that_it_has_passed() -> None:
    runs = Runs(decision("app", key="k"), notes=Notes(tests="t"))
    runs(BUILD)
    assert runs.notes.known == []
    runs(TEST)
    assert runs.notes.known == [("sha256:made", "k", "t")]


def test_an_image_that_fails_its_test_is_not_remembered() -> None:
    runs = Runs(decision("app", key="k"), notes=Notes(tests="t", code=1))
    runs(BUILD)
    with pytest.raises(BuildError):
        runs(TEST)
    assert runs.notes.known == []


def test_what_the_docker_engine_never_had_is_not_remembered() -> None:
    unseen = replace(request("base"), in_engine=False)
    runs = Runs(decision("base", key="k"), requests={"base": unseen})
    runs(BUILD, "base")
    assert runs.notes.known == []


def test_what_is_tested_lies_under_a_key_that_says_so() -> None:
    runs = Runs(decision("app", key="k" * 64), notes=Notes(tests="t"))
    for phase in (BUILD, TEST, PUSH):
        runs(phase)
    assert [str(image.staged) for image in runs.notes.images] == [f"app:key-{'k' * 40}-t"]


def test_a_selected_image_that_is_there_gets_all_its_names_and_is_pushed_as_it_is() -> None:
    there = Reuse(
        image="app",
        reasons=(),
        key="k",
        repository=Reference.parse("app"),
        tag="1",
        moving=("latest",),
        reference="app:1",
        image_id="sha256:there",
        to_push=True,
        base="base",
    )
    runs = Runs(there)
    assert runs(BUILD) == Reused(reference="app:1")
    assert runs.notes.log == ["tag sha256:there app:1", "tag sha256:there app:latest"]
    runs(PUSH)
    (image,) = runs.notes.images
    assert (image.local, image.base, image.blobs) == ("sha256:there", "base", None)
