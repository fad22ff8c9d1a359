"""The name of a key is used by all runs on an engine: what was pushed must be our own image."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator

import pytest

from builder.core.engine.answers import LocalImage
from builder.core.engine.messages import Fault, PushFailedError, push_failure
from builder.core.errors import PublishError
from builder.core.reference import Reference
from builder.publish.images import staged
from tests.support.engines import FakeImages, digest_of

NAME = "registry.example:5000/team/app:key-1"
OURS = "sha256:ours"
THEIRS = "sha256:theirs"
# The other run came later, and has the name of the release.
RELEASE = {"registry.example:5000/team/app:1": THEIRS}


def engine_with(
    others: Iterable[Callable[[FakeImages], None]] = (), *, fault: PushFailedError | None = None
) -> FakeImages:
    """One that has our image without a name, and theirs under the name of the release."""
    (name,) = RELEASE
    engine = FakeImages({name: LocalImage(id=THEIRS)}, others=others, fault=fault)
    engine.images[OURS] = LocalImage(id=OURS, size=1)
    return engine


def nothing(_engine: FakeImages) -> None:
    pass


def take_away(engine: FakeImages) -> None:
    engine.untag(NAME)


def take_over(engine: FakeImages) -> None:
    engine.tag(THEIRS, NAME)


def forever(move: Callable[[FakeImages], None]) -> Iterator[Callable[[FakeImages], None]]:
    while True:
        yield move


def push(engine: FakeImages) -> str:
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
    others: list[Callable[[FakeImages], None]], pushes: list[str]
) -> None:
    engine = engine_with(others)
    assert push(engine) == digest_of(OURS)
    assert engine.pushed == pushes
    assert engine.names == RELEASE


def test_an_image_without_a_name_stays_until_it_is_pushed() -> None:
    engine = engine_with([take_away, take_over, take_away])
    assert push(engine) == digest_of(OURS)
    assert OURS not in engine.images  # as the run found it: the release's name was another's


@pytest.mark.parametrize("move", [take_away, take_over])
def test_it_is_not_tried_for_ever(move: Callable[[FakeImages], None]) -> None:
    engine = engine_with(forever(move))
    with pytest.raises(PublishError, match="other runs on this engine"):
        push(engine)
    assert engine.names == RELEASE


def test_other_faults_are_told_at_once() -> None:
    fault = push_failure("denied: ", "cannot push", Reference.parse(NAME))
    engine = engine_with(fault=fault)
    with pytest.raises(PushFailedError) as caught:
        push(engine)
    assert caught.value.fault is Fault.DENIED
    assert engine.names == RELEASE
