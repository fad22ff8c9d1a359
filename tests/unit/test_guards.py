"""Each guard bites: tests that break out, run by a pytest of their own, fail with what they did."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from textwrap import dedent

import pytest

ROOT = Path(__file__).parents[2]
CONFTEST = "from tests.support.guards import empty_home, guarded\n"
HEAD = """
    import os, shutil, socket, subprocess, threading
    from pathlib import Path
    import pycurl
    import pytest

    OUTSIDE = os.environ["TEST_OUTSIDE"]  # host:port of somebody else
    ADDRESS = ("127.0.0.1", int(OUTSIDE.rpartition(":")[2]))

    def connect():
        try:
            socket.create_connection(ADDRESS)
        except BaseException:
            pass

    def curl(url, **options):
        handle = pycurl.Curl()
        handle.setopt(pycurl.URL, url)
        for name, value in options.items():
            handle.setopt(getattr(pycurl, name), value)
        try:
            handle.perform()
        except pycurl.error as error:
            return error.args[0]
        finally:
            handle.close()
        return 0
"""
BREAKING = {
    "an_address_of_somebody_else": (
        "socket.create_connection(ADDRESS).close()",
        r"connected to \('127.0.0.1', \d+\), which it has not opened",
    ),
    "an_address_that_is_tried": (
        "socket.socket().connect_ex(ADDRESS)",
        r"connected to \('127.0.0.1', \d+\)",
    ),
    "a_host_elsewhere": (
        "socket.create_connection(('192.0.2.1', 80), timeout=1).close()",
        r"connected to \('192.0.2.1', 80\)",
    ),
    "an_error_that_is_caught": (
        "connect()",
        "connected to",
    ),
    "a_connection_of_a_thread": (
        "thread = threading.Thread(target=connect); thread.start(); thread.join()",
        "connected to",
    ),
    "libcurl_to_somebody_else": ("curl(f'http://{OUTSIDE}/')", "connected to"),
    "libcurl_to_an_engine": (
        "curl('http://d/', UNIX_SOCKET_PATH='/var/run/docker.sock')",
        "connected to .*/var/run/docker.sock",
    ),
    "an_engine": (
        "socket.socket(socket.AF_UNIX).connect('/var/run/docker.sock')",
        "connected to '/var/run/docker.sock'",
    ),
    "a_docker_command": ("subprocess.run(['docker', 'ps'])", "started .*/docker"),
    "a_changed_environment": ("os.environ['NEW'] = '1'", "changed NEW in os.environ"),
    "a_shrunk_environment": ("del os.environ['PATH']", "changed PATH in os.environ"),
    "another_folder": ("os.chdir('/')", "stayed in / as its working directory"),
    "a_full_home": ("(Path.home() / 'x').mkdir()", "left x in its home"),
}
KEEPING = {
    "its_own_server": (
        "with socket.create_server(('127.0.0.1', 0)) as server:\n"
        "        socket.create_connection(server.getsockname()).close()"
    ),
    "its_own_server_by_libcurl": (
        "with socket.create_server(('127.0.0.1', 0)) as server:\n"
        "        assert curl('http://127.0.0.1:%d/' % server.getsockname()[1], TIMEOUT_MS=99) == 28"
    ),
    "nobody": "assert socket.socket().connect_ex(('127.0.0.1', 1))",
    "its_own_unix_socket": (
        "with socket.socket(socket.AF_UNIX) as server, socket.socket(socket.AF_UNIX) as client:\n"
        "        server.bind(str(tmp_path / 's')); server.listen()\n"
        "        client.connect(str(tmp_path / 's'))"
    ),
    "its_own_docker": (
        "shutil.copy('/bin/true', tmp_path / 'docker')\n"
        "    subprocess.run([str(tmp_path / 'docker')], check=True)"
    ),
    "monkeypatch": (
        "monkeypatch.setenv('NEW', '1'); monkeypatch.chdir(tmp_path)\n"
        "    monkeypatch.delenv('PATH')"
    ),
    "what_is_left_of_the_environment": (
        "assert not {'DOCKER_HOST', 'OCBUILD_STATE', 'https_proxy', 'REGISTRY_AUTH_FILE'}"
        " & os.environ.keys()\n"
        "    assert os.environ['HOME'] == os.environ['DOCKER_CONFIG'] == str(Path.home())\n"
        "    assert not any(Path.home().iterdir())"
    ),
}
# In tests/unit/core and the like.
PURE = {"a_socket": ("socket.socket()", r"made a socket \(AF_INET\)")}
WISHES = {
    "DOCKER_HOST": "unix:///x",
    "OCBUILD_STATE": "/x",
    "https_proxy": "http://proxy",
    "REGISTRY_AUTH_FILE": "/x",
}


def _test(name: str, body: str) -> str:
    return f"def test_{name}(tmp_path, monkeypatch):\n    {body}\n\n"


@pytest.fixture(scope="module")
def said(tmp_path_factory: pytest.TempPathFactory) -> str:
    """What a pytest says that runs all of them beside somebody who listens."""
    folder = tmp_path_factory.mktemp("guards")
    (folder / "conftest.py").write_text(CONFTEST)
    for where, bodies in (
        ("test_breaking.py", {name: body for name, (body, _) in BREAKING.items()}),
        ("test_keeping.py", KEEPING),
        ("core/test_pure.py", {name: body for name, (body, _) in PURE.items()}),
    ):
        (folder / where).parent.mkdir(exist_ok=True)
        tests = (_test(name, body) for name, body in bodies.items())
        (folder / where).write_text(dedent(HEAD) + "\n" + "".join(tests))
    (folder / "bin").mkdir()
    shutil.copy("/bin/true", folder / "bin/docker")
    script = (
        "import os, socket, subprocess, sys\n"
        "with socket.create_server(('127.0.0.1', 0)) as other:\n"
        "    os.environ['TEST_OUTSIDE'] = '%s:%d' % other.getsockname()\n"
        "    sys.exit(subprocess.call([sys.executable, '-m', 'pytest', *sys.argv[1:]]))"
    )
    words = ["-q", "-rA", "--tb=short", "-p", "no:cacheprovider", f"--rootdir={folder}"]
    ended = subprocess.run(
        [sys.executable, "-c", script, *words, f"--basetemp={folder / 'tmp'}", str(folder)],
        check=False,
        capture_output=True,
        text=True,
        env={
            **os.environ,
            **WISHES,
            "PYTHONPATH": str(ROOT),
            "COLUMNS": "300",
            "PATH": f"{folder}/bin:{os.environ['PATH']}",
        },
        cwd=folder,
    )
    assert ended.returncode == 1, ended.stdout + ended.stderr
    return ended.stdout


@pytest.mark.parametrize(
    ("name", "complaint"),
    [*((name, complaint) for name, (_, complaint) in {**BREAKING, **PURE}.items())],
)
def test_who_breaks_out_fails(said: str, name: str, complaint: str) -> None:
    verdict = rf"^ERROR \S*::test_{name} - Failed: the test .*{complaint}"
    assert re.search(verdict, said, re.MULTILINE), said


@pytest.mark.parametrize("name", KEEPING)
def test_who_keeps_to_the_rules_passes(said: str, name: str) -> None:
    assert re.search(rf"^PASSED \S*::test_{name}$", said, re.MULTILINE), said
    assert not re.search(rf"^(ERROR|FAILED) \S*::test_{name}\b", said, re.MULTILINE), said
