"""The name of a key is used by all runs on an engine: what was pushed must be our own image."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

import pytest
from msgspec import Struct, field

from builder.core.engine.answers import LocalImage, Pushed
from builder.core.engine.transfer import Fault, PushFailedError, push_failure
from builder.core.errors import PublishError
from builder.core.reference import Reference
from builder.docker.daemon import Amounts
from builder.publish.images import staged

NAME = "registry.example:5000/team/app:key-1"
OURS = "sha256:ours"
THEIRS = "sha256:theirs"
# The other run came later, and has the name of the release.
RELEASE = {"registry.example:5000/team/app:1": THEIRS}


class FakeEngine(Struct):
    """Names and pushes; ``others`` is what other runs do, a move before and a move after a push."""

    others: Iterator[Callable[[FakeEngine], None]] = field(default_factory=lambda: iter(()))
    images: set[str] = field(default_factory=lambda: {OURS, THEIRS})
    names: dict[str, str] = field(default_factory=lambda: dict(RELEASE))
    pushed: list[str] = field(default_factory=list)
    fault: PushFailedError | None = None

    def tag(self, reference: str, target: str) -> None:
        assert reference in self.images
        self.names[target] = reference

    def untag(self, reference: str) -> None:
        image = self.names.pop(reference, None)
        if image is not None and image not in self.names.values():
            self.images.remove(image)

    def inspect(self, reference: str) -> LocalImage | None:
        found = self.names.get(reference, reference)
        return LocalImage(id=found) if found in self.images else None

    def push(
        self, reference: str, progress: Amounts, cancel: threading.Event | None = None
    ) -> Pushed:
        self._let_others()
        if self.fault is not None:
            raise self.fault
        if reference not in self.names:
            raise push_failure(
                f"tag does not exist: {reference}", "cannot push", Reference.parse(reference)
            )
        self.pushed.append(self.names[reference])
        self._let_others()
        return Pushed(digest=f"digest of {self.pushed[-1]}", uploaded=1)

    def _let_others(self) -> None:
        next(self.others, nothing)(self)


def nothing(_engine: FakeEngine) -> None:
    pass


def take_away(engine: FakeEngine) -> None:
    engine.untag(NAME)


def take_over(engine: FakeEngine) -> None:
    engine.tag(THEIRS, NAME)


def forever(move: Callable[[FakeEngine], None]) -> Iterator[Callable[[FakeEngine], None]]:
    while True:
        yield move


def push(engine: FakeEngine) -> str:
    cancel = threading.Event()
    cancel.set()  # then no wait takes any time
    with staged(
        engine, OURS, NAME, run_id="a-run", progress=lambda *_amounts: None, cancel=cancel
    ) as pushed:
        assert engine.names == {**RELEASE, NAME: OURS, f"{NAME}-a-run": OURS}
        return pushed.digest


@pytest.mark.parametrize(
    ("others", "pushes"),
    [
        ([], [OURS]),
        ([take_away], [OURS]),
        ([take_away, take_away, take_away], [OURS]),
        ([take_over], [THEIRS, OURS]),
        ([take_over, take_away], [THEIRS, OURS]),
        ([nothing, take_over], [OURS, OURS]),
        ([take_over, take_over, take_away, nothing, take_away], [THEIRS, OURS, OURS]),
    ],
)
def test_what_counts_is_a_push_of_our_own_image(
    others: list[Callable[[FakeEngine], None]], pushes: list[str]
) -> None:
    engine = FakeEngine(others=iter(others))
    assert push(engine) == "digest of sha256:ours"
    assert engine.pushed == pushes
    assert engine.names == RELEASE


def test_an_image_without_a_name_stays_until_it_is_pushed() -> None:
    engine = FakeEngine(others=iter([take_away, take_over, take_away]))
    assert push(engine) == "digest of sha256:ours"
    assert OURS not in engine.images  # as the run found it: the release's name was another's


@pytest.mark.parametrize("move", [take_away, take_over])
def test_it_is_not_tried_for_ever(move: Callable[[FakeEngine], None]) -> None:
    engine = FakeEngine(others=forever(move))
    with pytest.raises(PublishError, match="other runs on this engine"):
        push(engine)
    assert engine.names == RELEASE


def test_other_faults_are_told_at_once() -> None:
    fault = push_failure("denied: ", "cannot push", Reference.parse(NAME))
    engine = FakeEngine(fault=fault)
    with pytest.raises(PushFailedError) as caught:
        push(engine)
    assert caught.value.fault is Fault.DENIED
    assert engine.names == RELEASE
