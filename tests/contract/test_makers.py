"""What all engines promise who make images: the pretended one and those of a Docker Engine."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from builder.core.assemble import Refused
from builder.core.engine.failure import BuildFailedError
from builder.core.errors import InterruptedRunError
from builder.docker.daemon import Daemon
from builder.engines import BuildRequest, Engine
from builder.engines.choose import available
from tests.contract.conftest import real
from tests.support.engines import (
    BOX,
    OURS,
    TEST_LABEL,
    FakeEngine,
    Outputs,
    box,
    connect,
    parsed,
)

NAME = "ocbuild-test/base:none"
LABEL = "common/app/Dockerfile"
# Each says that it is made; one of them fails then, and one does not end by itself.
GOOD, BAD, SLOW = "good", "bad", "slow"
# One needs what not every engine has.
ODD = "odd"
COMMANDS = {
    GOOD: f"echo making {GOOD} # {OURS}",
    BAD: f"echo making {BAD}; exit 1 # {OURS}",
    SLOW: f"echo making {SLOW}; sleep 3000000{OURS}",
}


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    daemon = connect()
    with box(tmp_path_factory.mktemp("box")):
        yield daemon
    daemon.close()


@pytest.fixture(params=["fake", *real("buildx", "engine-api", "classic")])
def engine(request: pytest.FixtureRequest) -> Engine:
    if request.param == "fake":
        return FakeEngine(fails=[BAD], takes=[SLOW], refuses={ODD: "this engine lacks ssh"})
    daemon: Daemon = request.getfixturevalue("daemon")
    engines = {engine.name: engine for engine in available(daemon, os.environ)}
    return engines[request.param]


def request_for(image: str, folder: Path) -> BuildRequest:
    text = f"FROM {NAME}\nRUN {COMMANDS[image]}\n"
    (folder / "Dockerfile").write_text(text, encoding="utf-8")
    return BuildRequest(
        image=image,
        parsed=parsed(text),
        context=folder,
        dockerfile=folder / "Dockerfile",
        dockerfile_label=LABEL,
        tags=(f"ocbuild-test/contract-{image}:{OURS}",),
        contexts={NAME: BOX},
        labels={TEST_LABEL: OURS},
        no_cache=True,
    )


@pytest.mark.parametrize("engine", ["fake", *real("engine-api", "classic")], indirect=True)
def test_what_it_lacks_is_refused_before_anything_is_made(engine: Engine, tmp_path: Path) -> None:
    outputs = Outputs()
    request = replace(request_for(GOOD, tmp_path), image=ODD, features=frozenset({"ssh"}))
    with pytest.raises(Refused, match="this engine lacks"):
        engine.build(request, outputs, threading.Event())
    assert outputs.all == []


def test_an_image_is_made_and_its_output_shown(engine: Engine, tmp_path: Path) -> None:
    assert engine.name
    outputs = Outputs()
    result = engine.build(request_for(GOOD, tmp_path), outputs, threading.Event())
    assert result.image_id.startswith("sha256:")
    assert result.size is not None
    assert result.size > 0
    assert not result.cached
    assert "making good" in outputs.lines
    assert any("RUN" in step for step in outputs.steps)


def test_a_command_that_fails_is_told_with_all_that_helps(engine: Engine, tmp_path: Path) -> None:
    outputs = Outputs()
    with pytest.raises(BuildFailedError) as caught:
        engine.build(request_for(BAD, tmp_path), outputs, threading.Event())
    error = caught.value
    assert error.message.endswith("failed with exit code 1")
    assert str(error.where).startswith(f"{LABEL}:")
    assert str(error.command).startswith("RUN ")
    assert error.status == 1
    assert error.log_tail == ("making bad",)
    assert not error.transient
    assert "making bad" in outputs.lines


def test_who_is_cancelled_before_or_while_it_builds_is_interrupted(
    engine: Engine, tmp_path: Path
) -> None:
    request = request_for(SLOW, tmp_path)
    cancel = threading.Event()
    outputs = Outputs("making slow")
    errors: list[BaseException] = []

    def work() -> None:
        try:
            engine.build(request, outputs, cancel)
        except BaseException as error:  # noqa: BLE001 - the thread of the test looks at it
            errors.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        assert outputs.seen.wait(60)
    finally:
        cancel.set()
        thread.join(20)
    assert not thread.is_alive()
    assert [type(error) for error in errors] == [InterruptedRunError]
    with pytest.raises(InterruptedRunError):
        engine.build(request, Outputs(), cancel)
