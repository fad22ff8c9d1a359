"""Ctrl-C in a real process: once to stop, twice to leave, three times to be rid of it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import pytest

from builder.run.execute import signals

ROOT = Path(__file__).parents[3]
# Only reached if something is broken: a test that would hang fails instead.
LONG = 60.0


@contextmanager
def running(mode: str) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(
        [sys.executable, "-m", "tests.support.signalled", mode],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        guard = threading.Timer(LONG, process.kill)
        guard.start()
        try:
            yield process
        finally:
            guard.cancel()
            process.kill()


def read_until(stream: IO[str] | None, word: str) -> None:
    assert stream is not None
    for line in stream:
        if word in line:
            return
    raise AssertionError(f"the program ended without saying {word!r}")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_stops_the_run_and_leaves_a_report(number: signal.Signals) -> None:
    with running("heeds") as process:
        read_until(process.stdout, "ready")
        process.send_signal(number)
        stdout, stderr = process.communicate()
    assert process.returncode == 130
    report = json.loads(stdout)
    assert report["status"] == "interrupted"
    statuses = {name: image["status"] for name, image in report["images"].items()}
    assert statuses == {"base": "interrupted", "nova": "interrupted"}
    assert "interrupted; stopping build base" in stderr
    assert "Traceback" not in stderr


def test_the_second_signal_leaves_behind_what_does_not_stop_and_still_leaves_a_report() -> None:
    with running("deaf") as process:
        read_until(process.stdout, "ready")
        process.send_signal(signal.SIGINT)
        read_until(process.stderr, "press Ctrl-C again")
        process.send_signal(signal.SIGINT)
        stdout, stderr = process.communicate()
    assert process.returncode == 130
    assert json.loads(stdout)["status"] == "interrupted"
    assert "not waiting any longer for: build base" in stderr
    assert "Traceback" not in stderr


def test_the_third_signal_ends_a_process_that_hangs() -> None:
    with running("hangs") as process:
        read_until(process.stdout, "ready")
        process.send_signal(signal.SIGINT)
        read_until(process.stderr, "press Ctrl-C again")
        # One signal that comes before the last was handled is one signal, so it is repeated.
        while process.poll() is None:
            process.send_signal(signal.SIGINT)
            try:
                process.wait(0.05)
            except subprocess.TimeoutExpired:
                continue
        process.communicate()
    assert process.returncode == -signal.SIGINT


def test_handlers_are_as_before_afterwards() -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    cancel, kill = threading.Event(), threading.Event()
    with signals(cancel, kill):
        os.kill(os.getpid(), signal.SIGTERM)
        assert cancel.wait(LONG)
        assert not kill.is_set()
        os.kill(os.getpid(), signal.SIGINT)
        assert kill.wait(LONG)
    after = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    assert after == before
