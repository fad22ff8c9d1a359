"""The engine of a host is asked by its API, by way of ssh, and faults come out as one line."""

from __future__ import annotations

import base64
import json
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from builder.core.errors import DeployError, InterruptedRunError
from builder.core.reference import Reference
from builder.docker.settings import HostEngine, Login, registry_auth
from tests.support.web import Asked, Say, Web, in_turn

# As `ssh … docker system dial-stdio` does it: what comes in goes to the engine, and back.
SSH = """\
#!{python}
import os, socket, sys, threading
with open("{folder}/words", "a") as told:
    print(*sys.argv[1:], file=told)
try:
    engine = socket.create_connection("{address}".rsplit(":", 1))
except OSError as error:
    sys.exit(f"cannot connect to the\\nDocker daemon: {{error.strerror}}")
def send():
    while block := os.read(0, 65536):
        engine.sendall(block)
threading.Thread(target=send, daemon=True).start()
while block := engine.recv(65536):
    os.write(1, block)
"""
WORDS = "-o ConnectTimeout=30 -T -l root -- far docker system dial-stdio\n"
VERSION = Say(body=b'{"ApiVersion": "1.45"}')
X = Reference.parse("host/a/b@sha256:" + "1" * 64)


class Ssh:
    """What leads to an engine, and what it was told in words."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._engines = ExitStack()

    @property
    def words(self) -> str:
        return (self._folder / "words").read_text()

    def engine(self, address: str) -> HostEngine:
        program = self._folder / "ssh"
        program.write_text(SSH.format(python=sys.executable, folder=self._folder, address=address))
        program.chmod(0o755)
        engine = HostEngine("far", "ssh://root@far", {"PATH": str(self._folder)})
        return self._engines.enter_context(closing(engine))

    def close(self) -> None:
        self._engines.close()


@pytest.fixture
def ssh(tmp_path: Path) -> Iterator[Ssh]:
    with closing(Ssh(tmp_path)) as way:
        yield way


@pytest.fixture
def serve() -> Iterator[Callable[..., Web]]:
    with ExitStack() as begun:
        yield lambda answer: begun.enter_context(Web(answer))


def text_of(text: str) -> DeployError:
    return DeployError(f"explained {text}")


def test_what_is_sent_is_in_no_word_of_a_command(ssh: Ssh, serve: Callable[..., Web]) -> None:
    said = b'{"JoinTokens": {"Worker": "secret"}}'
    web = serve(in_turn(VERSION, Say(body=said), Say()))
    engine = ssh.engine(web.address)
    tokens = engine.get("/swarm", "look at the swarm of")["JoinTokens"]
    assert engine.post("/swarm/join", "join with", {"JoinToken": tokens["Worker"]}) is None
    assert [(each.method, each.target) for each in web.asked] == [
        ("GET", "/version"),
        ("GET", "/v1.45/swarm"),
        ("POST", "/v1.45/swarm/join"),
    ]
    assert json.loads(web.asked[-1].body) == {"JoinToken": "secret"}
    assert set(ssh.words.splitlines(keepends=True)) == {WORDS}


def test_what_the_engine_refuses_is_told_in_its_words(ssh: Ssh, serve: Callable[..., Web]) -> None:
    web = serve(in_turn(VERSION, Say(status=503, body=b'{"message": "not a swarm manager"}')))
    with pytest.raises(DeployError) as caught:
        ssh.engine(web.address).get("/nodes", "list the swarm of")
    assert str(caught.value) == 'cannot list the swarm of host "far": not a swarm manager'


def test_an_engine_out_of_reach_is_one_line(ssh: Ssh, serve: Callable[..., Web]) -> None:
    gone = serve(lambda _: VERSION)
    gone._server.server_close()
    with pytest.raises(DeployError) as caught:
        ssh.engine(gone.address).get("/info", "look at")
    assert str(caught.value) == (
        'cannot look at host "far": no Docker Engine answers at ssh://root@far: '
        "cannot connect to the Docker daemon: Connection refused"
    )


def test_no_ssh_at_all_is_told_too(tmp_path: Path) -> None:
    engine = HostEngine("far", "ssh://far", {"PATH": str(tmp_path)})
    with pytest.raises(DeployError, match='look at host "far": cannot start "ssh": it is not'):
        engine.get("/info", "look at")


def test_messages_come_one_by_one_with_the_header_of_the_pull(
    ssh: Ssh, serve: Callable[..., Web]
) -> None:
    web = serve(in_turn(VERSION, Say(body=b'{"status": "one"}\n{"status": "two"}\n')))
    auth = registry_auth(Login(username="u", password="secret"), "host")
    engine = ssh.engine(web.address)
    with engine.pull(X, auth, cancel=threading.Event(), explain=text_of) as messages:
        assert [each["status"] for each in messages] == ["one", "two"]
    assert web.asked[-1].query == {"fromImage": ["host/a/b"], "tag": [X.digest]}
    told = json.loads(base64.urlsafe_b64decode(web.asked[-1].headers["x-registry-auth"]))
    assert told["password"] == "secret"
    assert auth not in ssh.words


def test_what_a_pull_is_refused_for_can_be_explained(ssh: Ssh, serve: Callable[..., Web]) -> None:
    web = serve(in_turn(VERSION, Say(status=404, body=b'{"message": "manifest unknown"}')))
    call = ssh.engine(web.address).pull(X, "", cancel=threading.Event(), explain=text_of)
    with pytest.raises(DeployError, match="explained manifest unknown"), call:
        pass


def test_an_interruption_ends_a_pull_that_says_nothing(ssh: Ssh, serve: Callable[..., Web]) -> None:
    cancel, ended = threading.Event(), threading.Event()

    def answer(asked: Asked) -> Say:
        if asked.target == "/version":
            return VERSION
        cancel.set()
        ended.wait(30)
        return Say()

    web = serve(answer)
    call = ssh.engine(web.address).pull(X, "", cancel=cancel, explain=text_of)
    with pytest.raises(InterruptedRunError), call as messages:
        list(messages)
    ended.set()


def test_an_engine_that_breaks_off_is_no_silent_end(ssh: Ssh, serve: Callable[..., Web]) -> None:
    web = serve(in_turn(VERSION, Say(body=b'{"status": "one"}\n{"status"', cut=24)))
    call = ssh.engine(web.address).pull(X, "", cancel=threading.Event(), explain=text_of)
    with pytest.raises(DeployError, match=r'cannot pull \S+ on host "far"'), call as messages:
        list(messages)
