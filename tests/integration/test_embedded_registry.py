"""A real registry on loopback is started, shared, survived and stopped."""

from __future__ import annotations

import http.client
import http.server
import io
import os
import shutil
import signal
import socket
import subprocess
import sys
import tarfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from builder.core.errors import PublishError
from builder.registry.embedded import EmbeddedRegistry, Kind
from builder.system.process import run

pytestmark = pytest.mark.engine

MISSING_PROGRAM = "ocbuild-test-no-such-program"


@pytest.fixture
def address() -> str:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{free.getsockname()[1]}"


@pytest.fixture
def registry(tmp_path: Path, address: str) -> Iterator[EmbeddedRegistry]:
    registry = EmbeddedRegistry(state=tmp_path / "state", address=address)
    yield registry
    registry.stop()


def request(
    address: str, method: str, path: str, body: bytes = b""
) -> tuple[int, dict[str, str], bytes]:
    connection = http.client.HTTPConnection(address, timeout=10)
    try:
        connection.request(method, path, body, {"Content-Type": "application/octet-stream"})
        response = connection.getresponse()
        return response.status, dict(response.getheaders()), response.read()
    finally:
        connection.close()


def upload(address: str, data: bytes, digest: str) -> int:
    _, headers, _ = request(address, "POST", "/v2/test/blobs/uploads/")
    location = headers["Location"].partition(address)[2]
    return request(address, "PUT", f"{location}&digest={digest}", data)[0]


def test_a_started_registry_is_a_process_of_ours_that_answers(registry: EmbeddedRegistry) -> None:
    assert not registry.status().running

    status = registry.start()

    assert status.running
    assert status.kind is Kind.PROCESS
    assert status == registry.status()
    assert request(registry.address, "GET", "/v2/_catalog")[2] == b'{"repositories":[]}\n'


def test_a_second_start_leaves_the_first_registry_alone(registry: EmbeddedRegistry) -> None:
    assert registry.start() == registry.start()


def test_it_listens_on_loopback_only(registry: EmbeddedRegistry) -> None:
    registry.start()
    port = registry.address.rpartition(":")[2]

    listening = [
        line.split()[1]
        for table in ("tcp", "tcp6")
        for line in Path(f"/proc/net/{table}").read_text(encoding="ascii").splitlines()[1:]
        if line.split()[1].endswith(f":{int(port):04X}") and line.split()[3] == "0A"
    ]

    assert listening == [f"0100007F:{int(port):04X}"]


def test_it_leads_a_session_of_its_own(registry: EmbeddedRegistry) -> None:
    pid = registry.start().pid

    assert pid is not None
    assert os.getsid(pid) == pid


def test_blobs_survive_a_restart_and_can_be_deleted(registry: EmbeddedRegistry) -> None:
    # The digest of the word below.
    digest = "sha256:5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03"
    registry.start()
    assert upload(registry.address, b"hello\n", digest) == 201
    registry.stop()
    registry.start()

    assert request(registry.address, "GET", f"/v2/test/blobs/{digest}")[2] == b"hello\n"
    assert request(registry.address, "DELETE", f"/v2/test/blobs/{digest}")[0] == 202
    assert request(registry.address, "HEAD", f"/v2/test/blobs/{digest}")[0] == 404


def test_stop_leaves_no_process_and_may_be_repeated(registry: EmbeddedRegistry) -> None:
    pid = registry.start().pid

    assert not registry.stop().running
    assert not registry.stop().running
    assert not Path(f"/proc/{pid}").exists()


def test_a_killed_registry_is_started_anew(registry: EmbeddedRegistry) -> None:
    first = registry.start().pid
    assert first is not None
    os.kill(first, signal.SIGKILL)
    os.waitpid(first, 0)

    second = registry.start()

    assert second.kind is Kind.PROCESS
    assert second.pid != first


def test_a_stale_pid_file_that_names_another_program_is_not_believed(
    registry: EmbeddedRegistry,
) -> None:
    registry.folder.mkdir(parents=True)
    (registry.folder / "registry.pid").write_text(f"{os.getpid()}\n", encoding="ascii")

    registry.stop()  # would end this very test run
    status = registry.start()

    assert status.kind is Kind.PROCESS
    assert status.pid != os.getpid()


@pytest.mark.parametrize("garbage", ["", "no number\n", "99999999\n"])
def test_a_broken_pid_file_is_no_obstacle(registry: EmbeddedRegistry, garbage: str) -> None:
    registry.folder.mkdir(parents=True)
    (registry.folder / "registry.pid").write_text(garbage, encoding="ascii")

    assert registry.start().kind is Kind.PROCESS


def test_starts_at_the_same_time_end_in_one_registry(registry: EmbeddedRegistry) -> None:
    script = (
        "import sys; from pathlib import Path\n"
        "from builder.registry.embedded import EmbeddedRegistry\n"
        "print(EmbeddedRegistry(state=Path(sys.argv[1]), address=sys.argv[2]).start().pid)"
    )
    argv = [sys.executable, "-c", script, str(registry.state), registry.address]
    root = Path(__file__).parents[2]
    starts = [subprocess.Popen(argv, stdout=subprocess.PIPE, cwd=root) for _ in range(4)]

    pids = {start.communicate(timeout=60)[0] for start in starts}

    assert pids == {f"{registry.status().pid}\n".encode()}


def test_a_registry_of_somebody_else_is_used_and_not_touched(
    registry: EmbeddedRegistry, tmp_path: Path
) -> None:
    theirs = registry.start()
    ours = EmbeddedRegistry(state=tmp_path / "other", address=registry.address)

    assert ours.start().kind is Kind.FOREIGN
    assert ours.stop().kind is Kind.FOREIGN
    assert registry.status() == theirs


@pytest.fixture
def web_server(address: str) -> Iterator[None]:
    class Page(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(b"<html>")

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - inherited name
            pass

    host, _, port = address.partition(":")
    with http.server.HTTPServer((host, int(port)), Page) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield
        server.shutdown()
        thread.join()


@pytest.mark.usefixtures("web_server")
def test_an_address_taken_by_something_else_is_an_error_with_a_remedy(
    registry: EmbeddedRegistry,
) -> None:
    with pytest.raises(PublishError, match="in use by something that is no registry") as caught:
        registry.start()

    assert "another loopback address" in str(caught.value.hint)
    assert not registry.status().running


def test_a_program_that_dies_at_once_is_reported_with_its_log(tmp_path: Path, address: str) -> None:
    program = tmp_path / "dies"
    program.write_text("#!/bin/sh\necho no space left >&2\nexit 1\n", encoding="ascii")
    program.chmod(0o755)
    registry = EmbeddedRegistry(state=tmp_path, address=address, program=str(program))

    with pytest.raises(PublishError, match="ended as soon as it was started:\nno space left"):
        registry.start()

    assert not registry.status().running


def test_without_program_and_image_the_remedy_is_named(tmp_path: Path, address: str) -> None:
    registry = EmbeddedRegistry(
        state=tmp_path, address=address, program=MISSING_PROGRAM, image=f"{address}/none:1"
    )

    with pytest.raises(PublishError, match=f"{MISSING_PROGRAM} is not installed") as caught:
        registry.start()

    assert "apt-get install docker-registry" in str(caught.value.hint)
    registry.stop()


def test_an_unwritable_state_folder_is_named_with_the_remedy(address: str) -> None:
    registry = EmbeddedRegistry(state=Path("/proc/ocbuild"), address=address)

    with pytest.raises(PublishError, match="/proc/ocbuild") as caught:
        registry.start()

    assert "OCBUILD_STATE" in str(caught.value.hint)


@pytest.fixture
def registry_image(tmp_path: Path) -> Iterator[str]:
    """The installed program as an image like the Hub's, so that nothing has to be pulled."""
    program = shutil.which("docker-registry")
    assert program is not None
    files = {program}
    for line in run(["ldd", program]).text.splitlines():
        files |= {word for word in line.split() if word.startswith("/")}
    config = (
        b"version: 0.1\nstorage: {filesystem: {rootdirectory: /var/lib/registry}, "
        b'cache: {blobdescriptor: inmemory}}\nhttp: {addr: ":5000"}\n'
    )
    archive = tmp_path / "rootfs.tar"
    with tarfile.open(archive, "w", dereference=True) as tar:
        for file in sorted(files):
            tar.add(file)
        member = tarfile.TarInfo("etc/config.yml")
        member.size = len(config)
        tar.addfile(member, io.BytesIO(config))
    image = f"ocbuild-test/registry:{os.getpid()}"
    change = f'--change=CMD ["{program}", "serve", "/etc/config.yml"]'
    assert run(["docker", "import", change, str(archive), image]).returncode == 0
    yield image
    run(["docker", "image", "rm", "--force", image])


def test_without_the_program_it_is_a_container_bound_to_loopback(
    tmp_path: Path, address: str, registry_image: str
) -> None:
    registry = EmbeddedRegistry(
        state=tmp_path / "state", address=address, program=MISSING_PROGRAM, image=registry_image
    )
    try:
        status = registry.start()
        assert status.kind is Kind.CONTAINER
        assert registry.start() == status
        digest = "sha256:5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03"
        assert upload(address, b"hello\n", digest) == 201
        assert request(address, "DELETE", f"/v2/test/blobs/{digest}")[0] == 202
        ports = run(["docker", "port", registry.container]).text
        assert ports == f"5000/tcp -> {address}\n"
        assert any(registry.data.iterdir())
    finally:
        stopped = registry.stop()

    assert not stopped.running
    assert run(["docker", "container", "inspect", registry.container]).returncode != 0
