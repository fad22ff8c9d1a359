"""Runs other programs: argv lists only, output as it comes, and an end that leaves nothing behind.

Every child leads a session of its own, so that one signal reaches all that it started and the
terminal's Ctrl-C reaches none of it: the caller decides, by ``cancel`` or ``timeout``. All
callbacks run in the calling thread, one after the other.
"""

from __future__ import annotations

import contextlib
import errno
import os
import selectors
import signal
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, TypeVar

from msgspec import Struct

from builder.core.errors import EngineUnavailableError, OcbuildError

Sink = Callable[[bytes], None]

_CHUNK = 64 * 1024
# A threading.Event cannot be waited for together with file descriptors, so it is looked at this
# often; output, exit and deadlines wake the loop themselves.
_TICK_SECONDS = 0.1
# How long a child that has exited may leave its pipes open by way of what it started.
_LINGER_SECONDS = 1.0
GRACE_SECONDS = 10.0


class ProgramMissingError(EngineUnavailableError):
    """The program cannot be started; ``program`` is the name that was looked for."""

    def __init__(self, program: str, reason: str = "it is not installed") -> None:
        super().__init__(
            f'cannot start "{program}": {reason}',
            hint=f'install it, or put the folder that holds "{program}" on the PATH',
        )
        self.program = program


class ProgramTimeoutError(EngineUnavailableError):
    """The program did not end in the time given to ``run``, and was killed with all it started."""


class StreamResult(Struct, frozen=True, kw_only=True):
    """How a streamed program ended; ``returncode`` is ``-N`` where signal N ended it.

    At most one of ``timed_out`` and ``cancelled`` is True: the one that came first.
    """

    returncode: int
    timed_out: bool = False
    cancelled: bool = False


class Completed(Struct, frozen=True, kw_only=True):
    """What a program wrote and how it ended."""

    stdout: bytes
    stderr: bytes
    returncode: int

    @property
    def text(self) -> str:
        """Standard output as text; bytes that are no UTF-8 are replaced."""
        return self.stdout.decode("utf-8", "replace")

    def complaint(self, *, lines: int = 5) -> str:
        """The last lines of what it said went wrong, for a message."""
        said = self.stderr.strip() or self.stdout.strip()
        tail = said.decode("utf-8", "replace").splitlines()[-lines:]
        return "\n".join(tail) or f"it said nothing and returned {self.returncode}"


def run(
    argv: Sequence[str],
    *,
    input: bytes | None = None,  # noqa: A002 - the name subprocess.run taught everyone
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    timeout: float | None = None,
    cancel: threading.Event | None = None,
) -> Completed:
    """Run a program to its end and keep what it wrote; a return code is a result, not an error.

    Raises:
        ProgramMissingError: if the program cannot be found or executed.
        ProgramTimeoutError: if it did not end within ``timeout`` seconds.

    """
    stdout, stderr = bytearray(), bytearray()
    result = stream(
        argv,
        on_stdout=stdout.extend,
        on_stderr=stderr.extend,
        cancel=cancel or threading.Event(),
        timeout=timeout,
        env=env,
        cwd=cwd,
        stdin=input,
    )
    if result.timed_out:
        raise ProgramTimeoutError(f'"{argv[0]}" did not end within {timeout:g} s')
    return Completed(stdout=bytes(stdout), stderr=bytes(stderr), returncode=result.returncode)


def stream(
    argv: Sequence[str],
    *,
    on_stdout: Sink,
    on_stderr: Sink,
    cancel: threading.Event,
    timeout: float | None = None,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    stdin: bytes | None = None,
    grace: float = GRACE_SECONDS,
) -> StreamResult:
    """Run a program and hand on its output as it comes, until it and all it started have ended.

    On ``cancel`` or after ``timeout`` seconds the whole group gets SIGTERM and, ``grace`` seconds
    later, SIGKILL; output is handed on until the end. What a callback raises ends the group at once
    and goes through. ``env`` replaces the environment; None inherits it.

    Raises:
        ProgramMissingError: if the program cannot be found or executed.

    """
    if cancel.is_set():
        return StreamResult(returncode=-signal.SIGTERM, cancelled=True)
    process = _start(argv, env=env, cwd=cwd, with_stdin=stdin is not None)
    try:
        conversation = _Conversation(process, on_stdout, on_stderr, stdin or b"")
        timed_out, cancelled = conversation.hold(cancel=cancel, timeout=timeout, grace=grace)
    finally:
        returncode = _end(process)
    return StreamResult(returncode=returncode, timed_out=timed_out, cancelled=cancelled)


class Dialled(Struct, frozen=True, kw_only=True):
    """A program that passes on what is sent to ``socket``, and answers there."""

    socket: socket.socket
    _said: IO[bytes]

    def complaint(self) -> str:
        """What it has said so far of what went wrong, in one line."""
        self._said.seek(0)
        return " ".join(self._said.read().decode("utf-8", "replace").split())


@contextlib.contextmanager
def dial(argv: Sequence[str], *, env: Mapping[str, str] | None = None) -> Iterator[Dialled]:
    """Start a program whose standard input and output are one connection; it ends with the block.

    Raises:
        ProgramMissingError: if the program cannot be found or executed.

    """
    ours, theirs = socket.socketpair()
    with ours, tempfile.TemporaryFile() as said:
        with theirs:
            process = _open(
                argv, env=env, cwd=None, stdin=theirs.fileno(), stdout=theirs.fileno(), stderr=said
            )
        try:
            yield Dialled(socket=ours, _said=said)
        finally:
            _end(process)


def _start(
    argv: Sequence[str], *, env: Mapping[str, str] | None, cwd: Path | None, with_stdin: bool
) -> subprocess.Popen[bytes]:
    stdin = subprocess.PIPE if with_stdin else subprocess.DEVNULL
    pipe = subprocess.PIPE
    return _open(argv, env=env, cwd=cwd, stdin=stdin, stdout=pipe, stderr=pipe)


def _open(
    argv: Sequence[str],
    *,
    env: Mapping[str, str] | None,
    cwd: Path | None,
    stdin: int,
    stdout: int,
    stderr: int | IO[bytes],
) -> subprocess.Popen[bytes]:
    try:
        return subprocess.Popen(
            list(argv),
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            bufsize=0,
            env=env,
            cwd=cwd,
            start_new_session=True,
        )
    except OSError as error:
        if cwd is not None and str(error.filename) == str(cwd):
            raise OcbuildError(f"{cwd}: {error.strerror}") from error
        reason = "it is not installed" if error.errno == errno.ENOENT else str(error.strerror)
        raise ProgramMissingError(argv[0], reason) from error


def _signal_group(process: subprocess.Popen[bytes], number: signal.Signals) -> None:
    """Signal all that the child started; sound only as long as the child has not been reaped."""
    # PermissionError: what is left of the group belongs to another user (sudo) or, on some kernels,
    # is nothing but a zombie.
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, number)


def _has_exited(process: subprocess.Popen[bytes]) -> bool:
    """Whether the child has ended; it is left as a zombie, so that its group id stays ours."""
    status = os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT | os.WNOHANG)
    return status is not None


def _end(process: subprocess.Popen[bytes]) -> int:
    """Kill what is left of the group, close the pipes, and reap the child."""
    _signal_group(process, signal.SIGKILL)
    for pipe in (process.stdin, process.stdout, process.stderr):
        if pipe is not None:
            pipe.close()
    return process.wait()


class _Conversation:
    """The loop between one child's pipes and the caller's sinks."""

    def __init__(
        self, process: subprocess.Popen[bytes], on_stdout: Sink, on_stderr: Sink, stdin: bytes
    ) -> None:
        self._process = process
        self._selector = selectors.DefaultSelector()
        self._to_write = memoryview(stdin)
        self._open = 0
        self._listen(process.stdout, on_stdout)
        self._listen(process.stderr, on_stderr)
        if process.stdin is not None:
            os.set_blocking(process.stdin.fileno(), False)
            self._selector.register(process.stdin, selectors.EVENT_WRITE, self._write)

    def hold(
        self, *, cancel: threading.Event, timeout: float | None, grace: float
    ) -> tuple[bool, bool]:
        """Talk until the child has ended; whether it was timed out, whether cancelled."""
        try:
            with _exit_descriptor(self._process) as exit_fd:
                if exit_fd is not None:
                    self._selector.register(exit_fd, selectors.EVENT_READ, None)
                timed_out, cancelled = self._until_exit(cancel, timeout, grace)
                if exit_fd is not None:
                    self._selector.unregister(exit_fd)
            self._drain(time.monotonic() + _LINGER_SECONDS)
            if self._open:
                _signal_group(self._process, signal.SIGKILL)
                self._drain(time.monotonic() + _LINGER_SECONDS)
        finally:
            self._selector.close()
        return timed_out, cancelled

    def _until_exit(
        self, cancel: threading.Event, timeout: float | None, grace: float
    ) -> tuple[bool, bool]:
        deadline = None if timeout is None else time.monotonic() + timeout
        timed_out = cancelled = False
        while not _has_exited(self._process):
            now = time.monotonic()
            if timed_out or cancelled:
                if deadline is not None and now >= deadline:
                    _signal_group(self._process, signal.SIGKILL)
                    deadline = None
            elif cancel.is_set() or (deadline is not None and now >= deadline):
                cancelled = cancel.is_set()
                timed_out = not cancelled
                _signal_group(self._process, signal.SIGTERM)
                deadline = now + grace
            self._turn(_TICK_SECONDS if deadline is None else min(_TICK_SECONDS, deadline - now))
        return timed_out, cancelled

    def _drain(self, deadline: float) -> None:
        """Read to the end of both pipes, which comes at once unless a grandchild holds them."""
        while self._open and (left := deadline - time.monotonic()) > 0:
            self._turn(left)

    def _turn(self, seconds: float) -> None:
        for key, _ in self._selector.select(max(0.0, seconds)):
            if key.data is not None:
                key.data()

    def _listen(self, pipe: IO[bytes] | None, sink: Sink) -> None:
        if pipe is None:
            return

        def read() -> None:
            chunk = os.read(pipe.fileno(), _CHUNK)
            if chunk:
                sink(chunk)
            else:
                self._selector.unregister(pipe)
                self._open -= 1

        self._selector.register(pipe, selectors.EVENT_READ, read)
        self._open += 1

    def _write(self) -> None:
        pipe = self._process.stdin
        if pipe is None:
            return
        try:
            written = os.write(pipe.fileno(), self._to_write[:_CHUNK])
        except BlockingIOError:
            return
        except BrokenPipeError:
            written = len(self._to_write)
        self._to_write = self._to_write[written:]
        if not self._to_write:
            self._selector.unregister(pipe)
            pipe.close()


@contextlib.contextmanager
def _exit_descriptor(process: subprocess.Popen[bytes]) -> Iterator[int | None]:
    """A descriptor that becomes readable when the child ends; None on a kernel before 5.3."""
    try:
        descriptor = os.pidfd_open(process.pid)
    except (AttributeError, OSError):
        yield None
        return
    try:
        yield descriptor
    finally:
        os.close(descriptor)


In = TypeVar("In")
Out = TypeVar("Out")

# Requests to one registry at a time: they are short, and the registry does the work.
AT_ONCE = 16


def in_threads(
    work: Callable[[In], Out], items: Iterable[In], *, at_once: int = AT_ONCE
) -> list[Out]:
    """What ``work`` gives for each item, in their order.

    After the first failure nothing more is started; what runs is waited for, then it is raised.
    """
    items = tuple(items)
    if len(items) < 2:  # noqa: PLR2004 - one has no other to wait for
        return [work(item) for item in items]
    from concurrent.futures import (  # noqa: PLC0415 - 12 ms that many runs have no use for
        FIRST_EXCEPTION,
        ThreadPoolExecutor,
        wait,
    )

    with ThreadPoolExecutor(max_workers=min(at_once, len(items))) as pool:
        futures = [pool.submit(work, item) for item in items]
        try:
            wait(futures, return_when=FIRST_EXCEPTION)
        finally:
            for future in futures:
                future.cancel()
    failed = (future for future in futures if not future.cancelled() and future.exception())
    for future in failed:
        future.result()
    return [future.result() for future in futures]
