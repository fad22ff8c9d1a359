"""An engine is asked by way of the docker command, whose words others may read."""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from builder.core.errors import DeployError, InterruptedRunError
from builder.docker.host_api import EngineApi, RefusedError
from tests.support.web import Asked, Say, Web, in_turn

# As `docker … system dial-stdio` does it: what comes in goes to the engine, and the other way.
DIAL = """\
import os, socket, sys, threading
words = sys.argv[1:]
with open(words[1], "a") as told:
    print(*words[2:], file=told)
try:
    engine = socket.create_connection(words[0].rsplit(":", 1))
except OSError as error:
    sys.exit(f"cannot connect to the\\nDocker daemon: {error.strerror}")
def send():
    while block := os.read(0, 65536):
        engine.sendall(block)
threading.Thread(target=send, daemon=True).start()
while block := engine.recv(65536):
    os.write(1, block)
"""
PONG = Say(headers={"Api-Version": "1.45"}, body=b"OK")


class Engine:
    """What answers, and what the command was told in words."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        (folder / "dial.py").write_text(DIAL)

    @property
    def words(self) -> str:
        return (self._folder / "words").read_text()

    def api(self, address: str) -> EngineApi:
        script = (sys.executable, str(self._folder / "dial.py"), address)
        return EngineApi([*script, str(self._folder / "words")], {}, 'host "far"')


@pytest.fixture
def engine(tmp_path: Path) -> Engine:
    return Engine(tmp_path)


@pytest.fixture
def serve() -> Iterator[Callable[..., Web]]:
    begun: list[Web] = []

    def start(answer: Callable[[Asked], Say]) -> Web:
        web = Web(answer)
        web.__enter__()
        begun.append(web)
        return web

    yield start
    for web in begun:
        web.__exit__(None, None, None)


def test_what_is_sent_is_in_no_word_of_the_command(
    engine: Engine, serve: Callable[..., Web]
) -> None:
    web = serve(in_turn(PONG, Say(body=b'{"ID": "one"}'), Say()))
    api = engine.api(web.address)
    assert api.get("/swarm", "look at the swarm of") == {"ID": "one"}
    assert api.post("/swarm/join", "join with", {"JoinToken": "secret"}) is None
    assert [(each.method, each.target) for each in web.asked] == [
        ("GET", "/_ping"),
        ("GET", "/v1.45/swarm"),
        ("POST", "/v1.45/swarm/join"),
    ]
    assert json.loads(web.asked[-1].body) == {"JoinToken": "secret"}
    assert engine.words == "system dial-stdio\n" * 2


def test_what_the_engine_refuses_is_told_in_its_words(
    engine: Engine, serve: Callable[..., Web]
) -> None:
    web = serve(in_turn(PONG, Say(status=503, body=b'{"message": "not a swarm manager"}')))
    with pytest.raises(RefusedError, match='cannot look at host "far": not a swarm man') as caught:
        engine.api(web.address).get("/swarm", "look at")
    assert (caught.value.status, caught.value.complaint) == (503, "not a swarm manager")


def test_an_engine_out_of_reach_is_one_line(engine: Engine, serve: Callable[..., Web]) -> None:
    gone = serve(lambda _: PONG)
    gone._server.server_close()
    with pytest.raises(DeployError) as caught:
        engine.api(gone.address).get("/info", "look at")
    assert str(caught.value) == (
        'cannot look at host "far": cannot connect to the Docker daemon: Connection refused'
    )


def test_messages_come_one_by_one_with_the_header_of_the_pull(
    engine: Engine, serve: Callable[..., Web]
) -> None:
    web = serve(in_turn(PONG, Say(body=b'{"status": "one"}\n{"status": "two"}\n')))
    with engine.api(web.address).stream(
        "/images/create",
        "pull x on",
        params={"fromImage": "a/b", "tag": "sha256:1"},
        headers={"X-Registry-Auth": "secret"},
        cancel=threading.Event(),
    ) as messages:
        assert [each["status"] for each in messages] == ["one", "two"]
    assert web.asked[-1].query == {"fromImage": ["a/b"], "tag": ["sha256:1"]}
    assert web.asked[-1].headers["x-registry-auth"] == "secret"
    assert "secret" not in engine.words


def test_an_interruption_ends_a_pull_that_says_nothing(
    engine: Engine, serve: Callable[..., Web]
) -> None:
    cancel, ended = threading.Event(), threading.Event()

    def answer(asked: Asked) -> Say:
        if asked.target == "/_ping":
            return PONG
        cancel.set()
        ended.wait(30)
        return Say()

    web = serve(answer)
    call = engine.api(web.address).stream(
        "/images/create", "pull x on", params={}, headers={}, cancel=cancel
    )
    with pytest.raises(InterruptedRunError), call as messages:
        list(messages)
    ended.set()


def test_an_engine_that_breaks_off_is_no_silent_end(
    engine: Engine, serve: Callable[..., Web]
) -> None:
    web = serve(in_turn(PONG, Say(body=b'{"status": "one"}\n{"status"', cut=24)))
    call = engine.api(web.address).stream(
        "/images/create", "pull x on", params={}, headers={}, cancel=threading.Event()
    )
    with pytest.raises(DeployError, match='cannot pull x on host "far"'), call as messages:
        list(messages)
