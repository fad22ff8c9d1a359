"""Streams of the engine are cut into messages and pieces wherever they were cut on the way."""

from __future__ import annotations

import struct
import threading

import pytest

from builder.core.engine.answers import frames
from builder.core.errors import InterruptedRunError
from builder.docker.client import Watch


def frame(stream: int, data: bytes) -> bytes:
    return struct.pack(">BxxxL", stream, len(data)) + data


def test_frames_are_put_together_whatever_the_chunks() -> None:
    data = frame(1, b"out") + frame(2, b"") + frame(2, b"error") + frame(1, b"x" * 300)
    expected = [(1, b"out"), (2, b""), (2, b"error"), (1, b"x" * 300)]

    assert list(frames([data])) == expected
    assert list(frames(bytes([byte]) for byte in data)) == expected


def test_a_frame_that_is_cut_off_is_not_given() -> None:
    assert list(frames([frame(1, b"whole"), frame(1, b"half")[:-1]])) == [(1, b"whole")]


def test_a_cancelled_watch_stops_once_and_says_so() -> None:
    cancel, stopped = threading.Event(), threading.Event()
    with Watch(stopped.set, cancel=cancel, timeout=None) as watch:
        cancel.set()
        assert stopped.wait(10)

    with pytest.raises(InterruptedRunError, match="a push: interrupted"):
        watch.check("a push")


def test_a_watch_stops_when_its_time_is_up() -> None:
    stopped = threading.Event()
    with Watch(stopped.set, cancel=threading.Event(), timeout=0) as watch:
        assert stopped.wait(10)

    with pytest.raises(TimeoutError):
        watch.check("a push")


def test_a_watch_that_had_nothing_to_stop_is_silent() -> None:
    with Watch(lambda: None, cancel=threading.Event(), timeout=60) as watch:
        pass

    watch.check("a push")
    assert not watch.stopped
