"""The Docker Engine and real registries are asked, and their faults come out as ours."""

from __future__ import annotations

import base64
import contextlib
import io
import json
import os
import socket
import socketserver
import tarfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from builder.core.engine.messages import Fault, PullFailedError, PushFailedError
from builder.core.errors import BuildError, EngineUnavailableError, InterruptedRunError
from builder.docker.daemon import Daemon
from builder.publish.images import staged
from tests.support.engines import (
    BOX,
    BUSYBOX,
    OURS,
    TEST_LABEL,
    box,
    connect,
    docker,
    running,
    soon,
)
from tests.support.registry import PASSWORD, USER, LocalRegistry, free_address

pytestmark = pytest.mark.engine


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    found = connect()
    with box(tmp_path_factory.mktemp("box")):
        yield found
    found.close()


@pytest.fixture(scope="module")
def registry() -> Iterator[LocalRegistry]:
    with LocalRegistry() as started:
        yield started


def ignore(_current: int, _total: int) -> None:
    pass


def an_archive(text: str) -> io.BytesIO:
    """A tar archive with one file."""
    whole = io.BytesIO()
    with tarfile.open(fileobj=whole, mode="w") as archive:
        entry = tarfile.TarInfo("file")
        entry.size = len(text)
        archive.addfile(entry, io.BytesIO(text.encode()))
    whole.seek(0)
    return whole


@contextlib.contextmanager
def tagged(daemon: Daemon, reference: str) -> Iterator[str]:
    """The box under another name for a while."""
    daemon.tag(BOX, reference)
    try:
        yield reference
    finally:
        daemon.untag(reference)


@contextlib.contextmanager
def answering(status: int) -> Iterator[str]:
    """The address of a server that answers every request with this status."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        do_HEAD = do_POST = do_GET  # noqa: N815 - the names that http.server looks for

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()


# --- the engine itself ------------------------------------------------------------------------


def test_the_engine_says_what_it_is(daemon: Daemon) -> None:
    info = daemon.info()

    assert info.os == "linux"
    assert info.version
    assert info.cpus >= 1
    assert info.memory > 0
    assert "127.0.0.0/8" in info.insecure_registries


def test_the_free_space_of_a_local_engine_is_known(daemon: Daemon) -> None:
    if daemon.endpoint.socket is None:
        assert daemon.disk_free() is None
    else:
        assert (daemon.disk_free() or 0) > 0


def test_an_image_is_described(daemon: Daemon) -> None:
    image = daemon.inspect(BOX)

    assert image is not None
    assert image.id.startswith("sha256:")
    assert BOX in image.tags
    # The containerd store counts what is compressed.
    assert image.size > BUSYBOX.stat().st_size / 4
    assert image.labels == {TEST_LABEL: OURS}
    assert any(variable.startswith("PATH=") for variable in image.env)
    assert daemon.inspect(image.id) == image


def test_an_image_that_is_not_there_is_none(daemon: Daemon) -> None:
    assert daemon.inspect("ocbuild-test/nothing:1") is None


def test_tags_are_given_and_taken_away(daemon: Daemon) -> None:
    name = f"127.0.0.1:5000/ocbuild-test/tag:{OURS}"
    daemon.tag(BOX, name)
    first, second = daemon.inspect(BOX), daemon.inspect(name)
    assert first is not None
    assert second is not None
    assert first.id == second.id

    daemon.untag(name)
    daemon.untag(name)
    assert daemon.inspect(name) is None
    assert daemon.inspect(BOX) is not None


def test_an_image_that_is_not_there_cannot_be_tagged(daemon: Daemon) -> None:
    with pytest.raises(BuildError, match="cannot tag ocbuild-test/nothing:1"):
        daemon.tag("ocbuild-test/nothing:1", "ocbuild-test/other:1")


def test_a_root_file_system_becomes_an_image(daemon: Daemon, tmp_path: Path) -> None:
    archive = tmp_path / "rootfs.tar"
    with tarfile.open(archive, "w") as tar:
        tar.add(BUSYBOX, "bin/busybox")
        link = tarfile.TarInfo("bin/sh")
        link.type, link.linkname = tarfile.SYMTYPE, "busybox"
        tar.addfile(link)
    name = f"ocbuild-test/rootfs:{OURS}"
    changes = [f"LABEL {TEST_LABEL}={OURS}", "ENV MADE=here"]
    from_file = daemon.import_rootfs(archive, name, changes)
    image = daemon.inspect(name)
    assert image is not None
    assert image.id == from_file
    assert "MADE=here" in image.env

    with archive.open("rb") as stream:
        from_stream = daemon.import_rootfs(stream, name, changes)
    lines: list[str] = []
    assert run(daemon, "echo $MADE", lines, image=from_stream) == 0
    assert lines == ["here"]


def test_what_is_no_archive_cannot_be_imported(daemon: Daemon) -> None:
    with pytest.raises(BuildError, match="cannot import ocbuild-test/bad"):
        daemon.import_rootfs(io.BytesIO(b"no tar" * 1000), "ocbuild-test/bad:1")


def test_many_threads_share_one_connection_pool(daemon: Daemon) -> None:
    with ThreadPoolExecutor(32) as pool:
        found = list(pool.map(lambda _: daemon.inspect(BOX), range(200)))

    assert len({image.id for image in found if image}) == 1
    assert None not in found


# --- reaching it ------------------------------------------------------------------------------


def test_no_socket_is_told_with_a_remedy(tmp_path: Path) -> None:
    with pytest.raises(EngineUnavailableError, match="there is no Docker Engine at") as caught:
        Daemon.connect({"DOCKER_HOST": f"unix://{tmp_path}/docker.sock"})
    assert "systemctl start docker" in str(caught.value.hint)


def test_a_socket_that_nobody_listens_on_is_told(tmp_path: Path) -> None:
    path = tmp_path / "docker.sock"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    with pytest.raises(EngineUnavailableError, match="nobody answers at unix://"):
        Daemon.connect({"DOCKER_HOST": f"unix://{path}"})


def test_a_port_that_nobody_listens_on_is_told() -> None:
    with pytest.raises(EngineUnavailableError, match="nobody answers at tcp://127"):
        Daemon.connect({"DOCKER_HOST": f"tcp://{free_address()}"})


def test_an_engine_that_is_too_old_is_refused(tmp_path: Path) -> None:
    class Old(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            self.request.recv(65536)
            body = b'{"ApiVersion": "1.24"}'
            head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\nConnection: close\r\n"
            self.request.sendall(head.encode() + b"Api-Version: 1.24\r\n\r\n" + body)

    path = tmp_path / "docker.sock"
    with socketserver.UnixStreamServer(str(path), Old) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            old = Daemon.connect({"DOCKER_HOST": f"unix://{path}"})
            with pytest.raises(EngineUnavailableError, match="speaks API"):
                old.inspect("debian")
            with pytest.raises(EngineUnavailableError, match="speaks API") as caught:
                old.info()
        finally:
            server.shutdown()
            thread.join()
    assert caught.value.exit_code == 3
    assert "upgrade" in str(caught.value.hint)


# --- registries -------------------------------------------------------------------------------


def test_a_push_gives_the_digest_that_the_registry_then_has(
    daemon: Daemon, registry: LocalRegistry
) -> None:
    amounts: list[tuple[int, int]] = []
    with tagged(daemon, f"{registry.address}/ocbuild-test/push:1") as name:
        assert daemon.remote_digest(name) is None
        pushed = daemon.push(name, lambda *amount: amounts.append(amount), threading.Event())

    assert pushed.digest.startswith("sha256:")
    # The containerd store tells nothing of layers that go at once.
    if not daemon.info().containerd_store:
        assert pushed.uploaded >= BUSYBOX.stat().st_size
        assert amounts[-1] == (pushed.uploaded, pushed.uploaded)
    assert daemon.remote_digest(name) == pushed.digest
    with tagged(daemon, f"{registry.address}/ocbuild-test/push:2") as second:
        assert daemon.push(second, ignore).digest == pushed.digest
        assert daemon.push(second, ignore).uploaded == 0


def test_what_was_pushed_can_be_pulled_by_tag_and_by_digest(
    daemon: Daemon, registry: LocalRegistry
) -> None:
    with tagged(daemon, f"{registry.address}/ocbuild-test/pull:1") as name:
        digest = daemon.push(name, ignore).digest
    daemon.pull(name)
    image = daemon.inspect(name)
    assert image is not None
    pinned = f"{registry.address}/ocbuild-test/pull@{digest}"
    assert pinned in image.repo_digests
    daemon.untag(name)
    daemon.pull(pinned)
    assert daemon.inspect(pinned) is not None
    daemon.untag(pinned)


def test_what_a_registry_does_not_have_cannot_be_pulled(
    daemon: Daemon, registry: LocalRegistry
) -> None:
    with pytest.raises(PullFailedError, match=r"cannot pull .*(unknown|not found)") as caught:
        daemon.pull(f"{registry.address}/ocbuild-test/nothing:1")
    assert caught.value.fault is Fault.MISSING


def test_an_image_that_is_not_there_cannot_be_pushed(
    daemon: Daemon, registry: LocalRegistry
) -> None:
    with pytest.raises(PushFailedError, match="cannot push") as caught:
        daemon.push(f"{registry.address}/ocbuild-test/nothing:1", ignore)
    assert caught.value.fault is Fault.UNTAGGED
    assert caught.value.exit_code == 4


def test_two_runs_that_stage_under_one_name_push_their_own_images(
    daemon: Daemon, registry: LocalRegistry
) -> None:
    repository = f"{registry.address}/ocbuild-test/contested"
    key = f"{repository}:key"

    def run(own: str) -> set[str]:
        label = f"LABEL {TEST_LABEL}={OURS}"
        image_id = daemon.import_rootfs(an_archive(own), f"{repository}:{own}", (label,))
        found = set()
        for _ in range(15):
            with staged(
                daemon, image_id, key, run_id=own, progress=ignore, cancel=threading.Event()
            ) as pushed:
                found.add(pushed.digest)
        return found

    with ThreadPoolExecutor(2) as threads:
        first, second = threads.map(run, ("one", "two"))
    assert len(first) == len(second) == 1
    assert first != second
    assert daemon.inspect(key) is None
    assert daemon.inspect(f"{key}-one") is None


def test_a_registry_that_is_not_there_is_told_with_its_address(daemon: Daemon) -> None:
    address = free_address()
    with (
        tagged(daemon, f"{address}/ocbuild-test/x:1") as name,
        pytest.raises(PushFailedError) as caught,
    ):
        daemon.push(name, ignore)

    assert caught.value.message.startswith(f"cannot push {name}: ")
    assert "connection refused" in caught.value.message
    assert caught.value.hint == f"does {address} run, and can the engine's host reach it?"
    assert (caught.value.fault, caught.value.transient) == (Fault.UNREACHABLE, False)
    with pytest.raises(PushFailedError) as caught:
        daemon.remote_digest(name)
    assert caught.value.fault is Fault.UNREACHABLE


@pytest.mark.parametrize(
    ("status", "fault"), [(503, Fault.PASSING), (429, Fault.PASSING), (403, Fault.DENIED)]
)
def test_what_a_registry_answers_tells_whether_to_ask_again(
    daemon: Daemon, status: int, fault: Fault
) -> None:
    with answering(status) as address, pytest.raises(PushFailedError) as caught:
        daemon.remote_digest(f"{address}/ocbuild-test/x:1")

    assert caught.value.fault is fault
    assert caught.value.transient == (fault is Fault.PASSING)


def test_a_registry_without_tls_that_is_not_on_the_loopback_is_told(daemon: Daemon) -> None:
    gateway = docker("network", "inspect", "bridge", "-f", "{{(index .IPAM.Config 0).Gateway}}")
    with LocalRegistry(free_address(gateway)) as registry:
        name = f"{registry.address}/ocbuild-test/x:1"
        with tagged(daemon, name), pytest.raises(PushFailedError) as caught:
            daemon.push(name, ignore)

    assert caught.value.fault is Fault.INSECURE
    assert f'add "{registry.address}" to insecure-registries' in str(caught.value.hint)


def test_a_registry_that_wants_a_login_gets_the_one_of_the_docker_config(
    daemon: Daemon, tmp_path: Path
) -> None:
    with (
        LocalRegistry(login=True) as registry,
        tagged(daemon, f"{registry.address}/ocbuild-test/login:1") as name,
    ):
        with pytest.raises(PushFailedError) as caught:
            daemon.push(name, ignore)
        assert caught.value.fault is Fault.DENIED
        assert f"`docker login {registry.address}`" in str(caught.value.hint)
        with pytest.raises(PushFailedError) as caught:
            daemon.remote_digest(name)
        assert caught.value.fault is Fault.DENIED

        login = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
        config = {"auths": {registry.address: {"auth": login}}}
        (tmp_path / "config.json").write_text(json.dumps(config), encoding="utf-8")
        environ = {"DOCKER_HOST": daemon.endpoint.url, "DOCKER_CONFIG": str(tmp_path)}
        with contextlib.closing(Daemon.connect(environ)) as known:
            digest = known.push(name, ignore).digest
            assert known.remote_digest(name) == digest


def test_a_push_that_hangs_is_broken_off(daemon: Daemon) -> None:
    cancel, reached = threading.Event(), threading.Event()

    class Silent(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            # The engine may give up a connection before it has asked anything on it.
            self.request.settimeout(10)
            with contextlib.suppress(OSError):
                self.request.recv(65536)
                reached.set()
                cancel.wait(30)

    def cancel_when_reached() -> None:
        if reached.wait(30):
            cancel.set()

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Silent) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            with tagged(daemon, f"127.0.0.1:{server.server_address[1]}/ocbuild-test/x:1") as name:
                threading.Thread(target=cancel_when_reached).start()
                begun = time.monotonic()
                with pytest.raises(InterruptedRunError, match="interrupted"):
                    daemon.push(name, ignore, cancel)
                assert time.monotonic() - begun < 5
        finally:
            server.shutdown()
            thread.join()


# --- commands in images -----------------------------------------------------------------------


def run(
    daemon: Daemon,
    command: str,
    lines: list[str] | None = None,
    *,
    image: str = BOX,
    timeout: float | None = 60,
    cancel: threading.Event | None = None,
) -> int:
    said = [] if lines is None else lines
    return daemon.run_test(
        image,
        command,
        timeout=timeout,
        sink=said.append,
        cancel=cancel or threading.Event(),
        run_id=OURS,
    )


def containers() -> str:
    return docker("ps", "--all", "--quiet", "--filter", f"label=ocbuild.run={OURS}")


def test_a_command_gives_its_lines_and_its_code(daemon: Daemon) -> None:
    lines: list[str] = []

    assert run(daemon, "echo one; echo two >&2; printf 'gr\\303\\274n'; exit 3", lines) == 3
    assert sorted(lines) == ["grün", "one", "two"]
    assert containers() == ""


def test_a_command_has_no_network(daemon: Daemon) -> None:
    lines: list[str] = []

    assert run(daemon, "ls /sys/class/net", lines) == 0
    assert lines == ["lo"]


def test_a_command_goes_round_the_entrypoint_of_the_image(daemon: Daemon, tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_text(
        f'FROM {BOX}\nENTRYPOINT ["/bin/false"]\nCMD ["x"]\n', encoding="utf-8"
    )
    name = f"ocbuild-test/entry:{OURS}"
    docker("build", "--quiet", "--tag", name, str(tmp_path))
    lines: list[str] = []

    assert run(daemon, "echo here", lines, image=name) == 0
    assert lines == ["here"]


def test_a_command_that_takes_too_long_is_killed_and_removed(daemon: Daemon) -> None:
    sleep = f"sleep 3000000{OURS}"
    with pytest.raises(BuildError, match="timed out after 1s"):
        run(daemon, sleep, timeout=1)

    assert containers() == ""
    assert soon(lambda: not running(sleep))


def test_a_cancelled_command_is_killed_and_removed(daemon: Daemon) -> None:
    sleep = f"sleep 4000000{OURS}"
    cancel = threading.Event()
    begun = threading.Event()
    errors: list[Exception] = []

    class Lines(list[str]):
        def append(self, line: str) -> None:
            begun.set()

    def work() -> None:
        try:
            run(daemon, f"echo begun; {sleep}", Lines(), timeout=None, cancel=cancel)
        except InterruptedRunError as error:
            errors.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    assert begun.wait(30)
    cancel.set()
    thread.join(10)

    assert len(errors) == 1
    assert containers() == ""
    assert soon(lambda: not running(sleep))


def test_an_image_without_a_shell_cannot_be_tested_and_leaves_nothing(
    daemon: Daemon, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("x", encoding="utf-8")
    (tmp_path / "Dockerfile").write_text(
        f"FROM scratch\nCOPY file /\nLABEL {TEST_LABEL}={OURS}\n", encoding="utf-8"
    )
    name = f"ocbuild-test/empty:{OURS}"
    docker("build", "--quiet", "--tag", name, str(tmp_path))

    with pytest.raises(BuildError, match=r"cannot test .*/bin/sh"):
        run(daemon, "true", image=name)
    assert containers() == ""


def test_an_image_that_is_not_there_cannot_be_tested(daemon: Daemon) -> None:
    with pytest.raises(BuildError, match="No such image"):
        run(daemon, "true", image="ocbuild-test/nothing:1")


def test_what_a_run_left_behind_is_removed_and_nothing_else(daemon: Daemon) -> None:
    mine = docker("create", "--label", f"ocbuild.run=a-{OURS}", BOX, "true")
    other = docker("create", "--label", f"ocbuild.run=b-{OURS}", BOX, "true")
    try:
        assert daemon.remove_leftovers(f"a-{OURS}") == 1
        left = docker("ps", "--all", "--quiet", "--no-trunc")
        assert mine not in left
        assert other in left
    finally:
        assert daemon.remove_leftovers(f"b-{OURS}") == 1


def test_the_environment_of_a_docker_command_names_the_same_engine(daemon: Daemon) -> None:
    environ = daemon.endpoint.child_environ(os.environ)

    assert {k: environ[k] for k in daemon.endpoint.env} == dict(daemon.endpoint.env)
    with contextlib.closing(Daemon.connect(environ)) as same:
        assert same.endpoint.url == daemon.endpoint.url
