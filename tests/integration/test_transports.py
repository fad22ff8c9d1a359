"""One engine by four ways: a socket, TCP with TLS, ssh, and a docker context; all are equal."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import shutil
import ssl
import tarfile
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from builder.core.errors import DeployError, EngineUnavailableError, InterruptedRunError
from builder.docker.daemon import Daemon
from builder.docker.settings import HostEngine
from tests.support.certificates import make_authority, make_server
from tests.support.engines import BOX, OURS, TEST_LABEL, box, connect
from tests.support.registry import require
from tests.support.relay import Relay

pytestmark = pytest.mark.engine

# What sshd would start for us on the host, once it knows who we are.
SSH = """\
#!/bin/sh
while [ "$1" != -- ]; do shift; done
[ "$2" = far ] || { echo "ssh: could not resolve hostname $2" >&2; exit 255; }
shift 2
unset DOCKER_HOST DOCKER_CONTEXT DOCKER_CONFIG
exec "$@"
"""
WAYS = ("unix", "tls", "ssh", "context")


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The socket of the engine of this machine, which has the box."""
    daemon = connect()
    path = daemon.endpoint.socket
    daemon.close()
    require(path, "an engine behind a Unix socket")
    assert path is not None
    with box(tmp_path_factory.mktemp("box")):
        yield path


@pytest.fixture(scope="module")
def tls(local: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mapping[str, str]]:
    """The engine behind a port of the loopback that wants a certificate."""
    folder = tmp_path_factory.mktemp("tls")
    authority = make_authority(folder)
    server = make_server(folder, authority)
    shutil.copy(authority.certificate, folder / "ca.pem")
    shutil.copy(server.certificate, folder / "cert.pem")
    shutil.copy(server.key, folder / "key.pem")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=authority.certificate)
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_cert_chain(server.certificate, server.key)
    with Relay("127.0.0.1", str(local), context=context) as relay:
        yield {
            "DOCKER_HOST": f"tcp://{relay.address}",
            "DOCKER_TLS_VERIFY": "1",
            "DOCKER_CERT_PATH": str(folder),
        }


@pytest.fixture(params=WAYS)
def environ(
    request: pytest.FixtureRequest, local: Path, tls: Mapping[str, str], tmp_path: Path
) -> Mapping[str, str]:
    plain = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "DOCKER_CONFIG": str(tmp_path)}
    if request.param == "unix":
        return {**plain, "DOCKER_HOST": f"unix://{local}"}
    if request.param == "tls":
        return {**plain, **tls}
    if request.param == "ssh":
        return {**plain, **by_ssh(tmp_path, "far")}
    # The context has TLS, so that its folder of certificates is read as well.
    name = hashlib.sha256(b"far").hexdigest()
    meta = tmp_path / "contexts" / "meta" / name / "meta.json"
    meta.parent.mkdir(parents=True)
    docker = {"Host": tls["DOCKER_HOST"], "SkipTLSVerify": False}
    meta.write_text(json.dumps({"Name": "far", "Endpoints": {"docker": docker}}))
    shutil.copytree(tls["DOCKER_CERT_PATH"], tmp_path / "contexts" / "tls" / name / "docker")
    return {**plain, "DOCKER_CONTEXT": "far"}


def by_ssh(folder: Path, host: str) -> dict[str, str]:
    require(shutil.which("docker"), "the docker command")
    program = folder / "bin" / "ssh"
    program.parent.mkdir()
    program.write_text(SSH)
    program.chmod(0o755)
    path = f"{program.parent}{os.pathsep}{os.environ['PATH']}"
    return {"PATH": path, "DOCKER_HOST": f"ssh://root@{host}"}


@pytest.fixture
def daemon(environ: Mapping[str, str]) -> Iterator[Daemon]:
    with contextlib.closing(Daemon.connect(environ)) as connected:
        yield connected


def a_context(dockerfile: str) -> io.BytesIO:
    whole = io.BytesIO()
    with tarfile.open(fileobj=whole, mode="w") as archive:
        entry = tarfile.TarInfo("Dockerfile")
        entry.size = len(dockerfile)
        archive.addfile(entry, io.BytesIO(dockerfile.encode()))
    whole.seek(0)
    return whole


def test_the_engine_and_its_images_are_the_same(daemon: Daemon) -> None:
    with contextlib.closing(connect()) as here:
        assert daemon.info() == here.info()
        assert daemon.inspect(BOX) == here.inspect(BOX)
    assert daemon.inspect("ocbuild-test/nothing:1") is None


def test_a_context_goes_and_messages_come(daemon: Daemon) -> None:
    name = f"ocbuild-test/ways:{OURS}"
    dockerfile = (
        f"FROM {BOX}\nRUN echo hello\nLABEL {TEST_LABEL}={OURS} once={os.urandom(4).hex()}\n"
    )
    params = {"version": "1", "t": [name], "nocache": "1", "rm": "1"}
    body, cancel = a_context(dockerfile), threading.Event()
    with daemon.build(params, body, cancel=cancel, timeout=60) as messages:
        said = "".join(str(each.get("stream", "")) for each in messages)
    assert "hello" in said
    assert daemon.inspect(name) is not None
    daemon.untag(name)


def test_a_build_that_says_nothing_is_broken_off(daemon: Daemon) -> None:
    cancel = threading.Event()
    params = {"version": "1", "nocache": "1", "forcerm": "1"}
    body = a_context(f"FROM {BOX}\nRUN echo begun && sleep 600\n")

    def build() -> None:
        with daemon.build(params, body, cancel=cancel, timeout=None) as messages:
            for each in messages:
                if "begun" in str(each.get("stream", "")):
                    cancel.set()

    with pytest.raises(InterruptedRunError):
        build()


def test_a_command_runs_in_a_container(daemon: Daemon) -> None:
    lines: list[str] = []
    code = daemon.run_test(
        BOX,
        "echo out; exit 3",
        timeout=60,
        sink=lines.append,
        cancel=threading.Event(),
        run_id=OURS,
    )
    assert (code, lines) == (3, ["out"])


def test_a_host_of_build_toml_may_be_reached_so(environ: Mapping[str, str]) -> None:
    with contextlib.closing(HostEngine("far", "local", environ)) as host:
        assert host.get("/info", "look at")["ServerVersion"]
        assert host.get("/networks/bridge", "look at a network of")["Driver"] == "bridge"
        with pytest.raises(DeployError, match=f"cannot look at a network of host.*{OURS}"):
            host.get(f"/networks/ocbuild-test-{OURS}", "look at a network of")


def test_what_ssh_says_goes_wrong_is_told(tmp_path: Path) -> None:
    environ = {"HOME": str(tmp_path), **by_ssh(tmp_path, "nowhere")}
    with pytest.raises(EngineUnavailableError) as caught:
        Daemon.connect(environ)
    assert caught.value.message == (
        "no Docker Engine answers at ssh://root@nowhere: ssh: could not resolve hostname nowhere"
    )


def test_an_engine_that_we_are_a_stranger_to_is_one_error(
    tls: Mapping[str, str], tmp_path: Path
) -> None:
    with pytest.raises(EngineUnavailableError, match="cannot use the Docker Engine"):
        Daemon.connect({"HOME": str(tmp_path), "DOCKER_HOST": tls["DOCKER_HOST"]})
