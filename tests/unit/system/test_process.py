"""Programs are run to an end that leaves nothing behind, whichever way they end."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from builder.core.errors import OcbuildError
from builder.core.text import LineSplitter
from builder.system.process import (
    ProgramMissingError,
    ProgramTimeoutError,
    StreamResult,
    run,
    stream,
)


def shell(script: str) -> list[str]:
    return ["/bin/sh", "-c", script]


def python(script: str) -> list[str]:
    return [sys.executable, "-c", script]


def ignore(_: bytes) -> None:
    pass


def is_gone(pid: int, within: float = 5.0) -> bool:
    """Whether the process ends soon; init may take a moment to reap what we orphaned."""
    deadline = time.monotonic() + within
    while time.monotonic() < deadline:
        try:
            state = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            return True
        if state[0] in "ZX":
            return True
        threading.Event().wait(0.01)
    return False


def when_said(event: threading.Event) -> Callable[[bytes], None]:
    def sink(_: bytes) -> None:
        event.set()

    return sink


def test_run_keeps_both_streams_and_the_return_code() -> None:
    done = run(shell("echo out; echo err >&2; exit 3"))

    assert (done.stdout, done.stderr, done.returncode) == (b"out\n", b"err\n", 3)


def test_run_feeds_input_larger_than_a_pipe_and_reads_while_it_writes() -> None:
    data = os.urandom(300_000)

    assert run(["cat"], input=data).stdout == data


def test_a_child_that_does_not_read_its_input_is_no_error() -> None:
    assert run(["true"], input=b"x" * 1_000_000).returncode == 0


def test_without_input_the_child_reads_end_of_file() -> None:
    assert run(["cat"], timeout=10).stdout == b""


def test_empty_input_is_end_of_file() -> None:
    assert run(["cat"], input=b"", timeout=10).stdout == b""


def test_env_replaces_the_environment() -> None:
    done = run(["/usr/bin/env"], env={"ONLY": "this"})

    assert done.text == "ONLY=this\n"


def test_cwd_is_where_the_child_runs(tmp_path: Path) -> None:
    assert run(["/bin/pwd", "-P"], cwd=tmp_path).text == f"{tmp_path.resolve()}\n"


def test_a_missing_program_is_named() -> None:
    with pytest.raises(ProgramMissingError, match='cannot start "no-such-program"') as caught:
        run(["no-such-program"])

    assert caught.value.program == "no-such-program"
    assert caught.value.exit_code == 3


def test_a_file_that_is_not_executable_is_named_with_the_reason(tmp_path: Path) -> None:
    file = tmp_path / "program"
    file.write_bytes(b"")

    with pytest.raises(ProgramMissingError, match="Permission denied"):
        run([str(file)])


def test_a_missing_folder_is_not_taken_for_a_missing_program(tmp_path: Path) -> None:
    with pytest.raises(OcbuildError, match="No such file or directory") as caught:
        run(["true"], cwd=tmp_path / "gone")

    assert not isinstance(caught.value, ProgramMissingError)


def test_death_by_signal_is_a_negative_return_code() -> None:
    assert run(shell("kill -KILL $$")).returncode == -signal.SIGKILL


def test_run_past_its_timeout_raises_and_leaves_no_child() -> None:
    started: list[bytes] = []
    with pytest.raises(ProgramTimeoutError, match=r"did not end within 0\.2 s"):
        run(shell("sleep 60"), timeout=0.2)
    result = stream(
        shell("echo $$; exec sleep 60"),
        on_stdout=started.append,
        on_stderr=ignore,
        cancel=threading.Event(),
        timeout=0.2,
    )

    assert result == StreamResult(returncode=-signal.SIGTERM, timed_out=True)
    assert is_gone(int(started[0]))


def test_cancel_ends_grandchildren_too() -> None:
    cancel = threading.Event()
    said = bytearray()

    def on_stdout(chunk: bytes) -> None:
        said.extend(chunk)
        if said.count(b"\n") == 2:
            cancel.set()

    result = stream(
        shell("sleep 60 & echo $!; echo $$; wait"),
        on_stdout=on_stdout,
        on_stderr=ignore,
        cancel=cancel,
    )

    assert result == StreamResult(returncode=-signal.SIGTERM, cancelled=True)
    assert all(is_gone(int(pid)) for pid in said.split())


def test_cancel_from_another_thread_is_noticed_while_the_child_is_silent() -> None:
    cancel = threading.Event()
    timer = threading.Timer(0.1, cancel.set)
    timer.start()
    before = time.monotonic()

    result = stream(["sleep", "60"], on_stdout=ignore, on_stderr=ignore, cancel=cancel)
    timer.join()

    assert result.cancelled
    assert time.monotonic() - before < 5


def test_a_cancelled_run_starts_nothing(tmp_path: Path) -> None:
    cancel = threading.Event()
    cancel.set()

    result = stream(
        ["touch", str(tmp_path / "ran")], on_stdout=ignore, on_stderr=ignore, cancel=cancel
    )

    assert result.cancelled
    assert not (tmp_path / "ran").exists()


def test_a_child_that_ignores_sigterm_is_killed_after_the_grace() -> None:
    cancel = threading.Event()

    result = stream(
        shell("trap '' TERM; echo ready; while :; do sleep 0.05; done"),
        on_stdout=when_said(cancel),
        on_stderr=ignore,
        cancel=cancel,
        grace=0.2,
    )

    assert result == StreamResult(returncode=-signal.SIGKILL, cancelled=True)


def test_last_words_after_sigterm_are_heard() -> None:
    cancel = threading.Event()
    said = bytearray()

    def on_stdout(chunk: bytes) -> None:
        said.extend(chunk)
        cancel.set()

    result = stream(
        shell("trap 'echo bye; exit 7' TERM; echo ready; while :; do sleep 0.05; done"),
        on_stdout=on_stdout,
        on_stderr=ignore,
        cancel=cancel,
    )

    assert bytes(said) == b"ready\nbye\n"
    assert result == StreamResult(returncode=7, cancelled=True)


def test_an_exit_that_came_before_the_cancel_is_an_ordinary_exit() -> None:
    cancel = threading.Event()

    def on_stderr(_: bytes) -> None:
        assert is_gone(int(said[0]))
        cancel.set()

    said: list[bytes] = []
    result = stream(
        shell("echo $$; sleep 0.1; echo end >&2"),
        on_stdout=said.append,
        on_stderr=on_stderr,
        cancel=cancel,
    )

    assert result == StreamResult(returncode=0)


def test_a_grandchild_that_keeps_the_pipes_open_does_not_hold_up_the_end() -> None:
    said: list[bytes] = []
    before = time.monotonic()

    result = stream(
        shell("sleep 60 & echo $!"),
        on_stdout=said.append,
        on_stderr=ignore,
        cancel=threading.Event(),
    )

    assert result == StreamResult(returncode=0)
    assert time.monotonic() - before < 5
    assert is_gone(int(said[0]))


def test_what_a_callback_raises_goes_through_and_the_child_is_gone() -> None:
    pids: list[int] = []

    def on_stdout(chunk: bytes) -> None:
        pids.append(int(chunk))
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        stream(
            shell("echo $$; exec sleep 60"),
            on_stdout=on_stdout,
            on_stderr=ignore,
            cancel=threading.Event(),
        )

    assert is_gone(pids[0])


def test_a_child_that_closes_its_output_and_goes_on_is_waited_for() -> None:
    result = run(shell("exec >&- 2>&-; sleep 0.2; exit 5"))

    assert result.returncode == 5


def test_callbacks_run_in_the_calling_thread() -> None:
    threads: set[int] = set()

    def note(_: bytes) -> None:
        threads.add(threading.get_ident())

    stream(
        shell("for i in 1 2 3; do echo $i; echo $i >&2; done"),
        on_stdout=note,
        on_stderr=note,
        cancel=threading.Event(),
    )

    assert threads == {threading.get_ident()}


def test_much_output_on_both_streams_comes_whole() -> None:
    script = (
        "import os,threading\n"
        "def w(fd):\n"
        "    for _ in range(200): os.write(fd, b'x' * 9999 + b'\\n')\n"
        "t = threading.Thread(target=w, args=(2,)); t.start(); w(1); t.join()"
    )

    done = run(python(script))

    assert len(done.stdout) == len(done.stderr) == 200 * 10_000


def test_waiting_for_a_silent_child_takes_next_to_no_processor_time() -> None:
    before = time.process_time()

    run(["sleep", "0.5"])

    assert time.process_time() - before < 0.1


def test_no_descriptor_stays_open() -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))

    for _ in range(20):
        run(["cat"], input=b"x")

    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_the_complaint_is_the_end_of_stderr_else_of_stdout() -> None:
    assert run(shell("echo a >&2; echo b >&2; echo no")).complaint(lines=1) == "b"
    assert run(shell("echo only")).complaint() == "only"
    assert run(shell("exit 4")).complaint() == "it said nothing and returned 4"


def test_lines_join_chunks_split_inside_a_character() -> None:
    lines: list[str] = []
    sink = LineSplitter(lines.append)

    for byte in "grün\r\nzwei\n\nrest".encode():
        sink(bytes([byte]))
    sink.end()

    assert lines == ["grün", "zwei", "", "rest"]


def test_lines_replace_what_is_no_utf8() -> None:
    lines: list[str] = []
    sink = LineSplitter(lines.append)

    sink(b"a\xff\n\xc3")
    sink.end()
    sink.end()

    assert lines == ["a\ufffd", "\ufffd"]
