"""The live display: what it shows at a moment, what stays above it, and what it leaves behind."""

from __future__ import annotations

import io
from collections.abc import Iterable
from functools import reduce

import pytest
from rich.console import Console

from builder.core.events import Event, StepId, StepProgress, StepRetried
from builder.core.run_text import RunProgress, advance, remaining
from builder.report.live import open_live, render
from tests.support.clock import FakeClock
from tests.support.story import (
    BROKEN,
    BUILD,
    EVENTS,
    PUSH,
    START,
    finished,
    started,
)

# The story up to the moment where an image is built and another one is pushed.
HALF_WAY = EVENTS[: EVENTS.index(started(PUSH, "openstackbase", 41)) + 2]
EXPECTED = {"openstackbase": 40.0, "nova": 30.0, "nova-api": 10.0, "nova-compute": 20.0}


def after(events: Iterable[Event], expected: dict[str, float] | None = None) -> RunProgress:
    return reduce(advance, events, RunProgress(expected=expected or {}))


def shown(progress: RunProgress, now: float, width: int = 82) -> str:
    stream = io.StringIO()
    console = Console(file=stream, width=width, force_terminal=False, color_system=None)
    console.print(render(progress, START + now, width))
    return "\n".join(line.rstrip() for line in stream.getvalue().splitlines())


def test_what_runs_now_and_how_far_the_run_is() -> None:
    doing = StepProgress(step=StepId(BUILD, "nova"), text="[3/7] RUN apt-get install nova")
    assert shown(after([*HALF_WAY, doing], EXPECTED), 51) == (
        "build  nova           [3/7] RUN apt-get install nova                          10 s\n"
        "push   openstackbase  uploading 500.0 kB of 64.0 MB                           10 s\n"
        "━━━                       2/5 built, 0/5 pushed, 0/5 tagged, 51 s, about 40 s left"
    )


def test_a_narrow_terminal_gets_shorter_lines_and_no_more_of_them() -> None:
    doing = StepProgress(
        step=StepId(BUILD, "nova"), text="[3/7] RUN " + "apt-get install nova " * 9
    )
    lines = shown(after([*HALF_WAY, doing]), 51, width=40).splitlines()
    assert len(lines) == 3
    assert all(len(line) <= 40 for line in lines)
    assert "…" in lines[0]


def test_a_failure_is_counted_in_words() -> None:
    display = shown(after(EVENTS[:-1]), 60, width=120)
    assert "2/5 built, 2/5 pushed, 0/5 tagged, 1 FAILED, 2 blocked, 1 min 00 s" in display


def test_output_of_a_build_is_neither_markup_nor_commands() -> None:
    text = "[bold red]x[/] \x1b[2J\x1b]0;title\x07:smile:"
    doing = StepProgress(step=StepId(BUILD, "nova"), text=text)
    display = shown(after([*HALF_WAY, doing]), 51)
    assert "[bold red]x[/] :smile:" in display
    assert "title" not in display


def test_a_wait_before_a_retry_is_shown() -> None:
    retried = StepRetried(
        step=StepId(BUILD, "nova"), attempt=1, delay=2.5, message="503", at=START + 45
    )
    assert "waits 2.5 s before attempt 2" in shown(after([*HALF_WAY, retried]), 46)


def test_before_the_run_starts_nothing_is_shown() -> None:
    assert shown(RunProgress(), 0).strip() == ""


def test_what_is_told_of_a_step_that_does_not_run_changes_nothing() -> None:
    progress = after(HALF_WAY)
    late = StepProgress(step=StepId(BUILD, "openstackbase"), text="late")
    assert advance(progress, late) is progress


@pytest.mark.parametrize(
    ("expected", "now", "left"),
    [
        # Ten seconds of nova's thirty are over; then the longer of its children follows.
        (EXPECTED, 51, 40.0),
        # A build that takes longer than expected is about to end at any moment.
        (EXPECTED, 200, 20.0),
        # What is not expected to take time takes none.
        ({"nova": 30.0}, 51, 20.0),
        # The sum counts where there are fewer jobs than branches.
        ({**EXPECTED, "nova-api": 90.0, "nova-compute": 90.0}, 51, 110.0),
        ({}, 51, None),
    ],
)
def test_the_estimate_is_the_longest_path_or_the_work_divided_by_the_jobs(
    expected: dict[str, float], now: float, left: float | None
) -> None:
    assert remaining(after(HALF_WAY, expected), START + now) == left


def test_nothing_is_left_when_all_builds_have_ended() -> None:
    assert remaining(after(EVENTS[:-1], EXPECTED), START + 60) == 0.0


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


def live(events: Iterable[Event], **environ: str) -> str:
    stream = Terminal()
    given = {"TERM": "xterm", "COLUMNS": "100", **environ}
    with open_live(stream, clock=FakeClock(), environ=given, expected={}) as report:
        for event in events:
            report(event)
    return stream.getvalue()


def test_failures_retries_and_notes_stay_above_and_the_summary_ends_the_run() -> None:
    text = live(EVENTS, NO_COLOR="1")
    assert "run r1: 5 images: 4 to build, 1 unchanged; 2 jobs; logs in logs\n" in text
    assert "attempt 1 failed, again in 2.5 s: mirror: 503\n" in text
    assert "note: the mirror is slow\n" in text
    assert f"build  nova           FAILED: {BROKEN.where}: {BROKEN.message}  (12 s)\n" in text
    assert "nothing was published; exit code 1\n" in text
    assert "E: Unable to locate package nvoa [red]\n" in text


def test_no_color_means_no_colour() -> None:
    failure = finished(BUILD, "nova", BROKEN, 12)
    red = "\x1b[31m"
    assert red in live([failure])
    assert red not in live([failure], NO_COLOR="1")


def test_the_cursor_is_shown_again_however_the_run_ends() -> None:
    stream = Terminal()
    with (
        pytest.raises(RuntimeError, match="our bug"),
        open_live(stream, clock=FakeClock(), environ={"TERM": "xterm"}, expected={}),
    ):
        raise RuntimeError("our bug")
    text = stream.getvalue()
    assert text.rindex("\x1b[?25h") > text.rindex("\x1b[?25l")
