"""The pretended engine does what tests of the executor rely on."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from builder.core.dockerfile.parse import parse
from builder.core.engine.failure import BuildFailedError
from builder.core.errors import InterruptedRunError
from builder.engines import BuildRequest, Engine
from tests.support.engines import FakeEngine, Outputs


def request(image: str) -> BuildRequest:
    return BuildRequest(
        image=image,
        parsed=parse(b"FROM x\n", "Dockerfile"),
        context=Path("/tree"),
        dockerfile=Path("/tree/Dockerfile"),
        dockerfile_label=f"{image}/Dockerfile",
        tags=(),
    )


def test_it_is_an_engine_that_notes_what_it_was_asked_for() -> None:
    fake = FakeEngine()
    engine: Engine = fake
    outputs = Outputs()
    result = engine.build(request("a"), outputs, threading.Event())

    assert result.image_id == "sha256:a"
    assert (fake.started, fake.finished) == (["a"], ["a"])
    assert outputs.lines == ["making a"]


def test_it_fails_for_good_or_for_a_while() -> None:
    fake = FakeEngine(fails=["a"], transient={"b": 1})
    for _ in range(2):
        with pytest.raises(BuildFailedError) as caught:
            fake.build(request("a"), Outputs(), threading.Event())
        assert not caught.value.transient
    with pytest.raises(BuildFailedError) as caught:
        fake.build(request("b"), Outputs(), threading.Event())
    assert caught.value.transient
    assert fake.build(request("b"), Outputs(), threading.Event()).size == 1


def test_it_waits_until_it_is_released_or_cancelled() -> None:
    fake = FakeEngine(takes=["a", "b"])
    cancel = threading.Event()
    interrupted: list[str] = []

    def build(image: str) -> None:
        try:
            fake.build(request(image), Outputs(), cancel)
        except InterruptedRunError:
            interrupted.append(image)

    threads = [threading.Thread(target=build, args=(image,)) for image in ("a", "b")]
    for thread in threads:
        thread.start()
    fake.wait_for_start("a", "b")
    assert fake.finished == []
    fake.release("a")
    threads[0].join(10)
    assert fake.finished == ["a"]
    cancel.set()
    threads[1].join(10)

    assert interrupted == ["b"]
    assert fake.most_at_once == 2
