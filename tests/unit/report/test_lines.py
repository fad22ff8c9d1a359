"""The reports that write lines: plain, quiet and the summary that ends them."""

from __future__ import annotations

import io
from collections.abc import Iterable

import pytest
from msgspec.structs import replace

from builder.core import events
from builder.core.events import (
    Blocked,
    Built,
    Event,
    Failed,
    ImageResult,
    ImageStatus,
    Interrupted,
    Note,
    Outcome,
    Pushed,
    Report,
    Reused,
    StepId,
    StepOutput,
    Tagged,
)
from builder.core.run_text import last_line, outcome_text, summary_text
from builder.report.streams import PlainReport, QuietReport, fanout
from tests.support.story import BROKEN, BUILD, EVENTS, SUMMARY, TAG, finished, started

SUMMARY_TEXT = """\
image          action  status  time      size
common         reuse   ok         -         -
openstackbase  build   ok      41 s  120.3 MB
nova           build   FAILED  12 s         -

blocked by nova: nova-api, nova-compute

took 54 s; these builds needed 53 s at the least
failed: 1 built, 1 unchanged, 1 failed, 2 blocked; nothing was published; exit code 1

FAILED nova
openstack/nova/Dockerfile:9: RUN apt-get install nvoa: failed with exit code 100
  RUN apt-get install \\
      nvoa
the end of its output:
  | Reading package lists...
  | E: Unable to locate package nvoa [red]
log:  logs/nova.log
hint: no base has that package
hint: `ocbuild build nova` repeats only this image"""

PLAIN_TEXT = f"""\
run r1: 5 images: 4 to build, 1 unchanged; 2 jobs; logs in logs
build  openstackbase  started
build  openstackbase  attempt 1 failed, again in 2.5 s: mirror: 503
note: the mirror is slow
build  openstackbase  ok  (41 s)
build  nova           started
push   openstackbase  started
push   openstackbase  ok, 64.0 MB uploaded  (9.0 s)
build  nova           FAILED: openstack/nova/Dockerfile:9: \
RUN apt-get install nvoa: failed with exit code 100  (12 s)
build  nova-api       blocked by nova
build  nova-compute   blocked by nova
push   common         started
push   common         ok, 0 B uploaded  (1.0 s)

{SUMMARY_TEXT}
"""


def told(report: Report, stream: io.StringIO, all_of: Iterable[Event]) -> str:
    for event in all_of:
        report(event)
    return stream.getvalue()


def plain(*all_of: Event) -> str:
    stream = io.StringIO()
    return told(PlainReport(stream), stream, all_of)


def test_plain_tells_a_run_line_by_line_and_failures_last() -> None:
    assert plain(*EVENTS) == PLAIN_TEXT


def test_quiet_says_failures_when_they_happen_and_one_line_in_the_end() -> None:
    stream = io.StringIO()
    assert told(QuietReport(stream), stream, EVENTS) == (
        "build nova  FAILED: openstack/nova/Dockerfile:9: "
        "RUN apt-get install nvoa: failed with exit code 100\n"
        "failed: 1 built, 1 unchanged, 1 failed, 2 blocked; nothing was published; exit code 1\n"
    )


def test_the_summary_ends_with_what_has_to_be_mended() -> None:
    assert summary_text(SUMMARY) == SUMMARY_TEXT


def test_what_never_started_is_told_only_if_nothing_else_tells_it() -> None:
    assert plain(finished(BUILD, "a", Blocked(by="base"))) == "build  a  blocked by base\n"
    assert plain(finished(BUILD, "a", Interrupted())) == ""
    assert plain(finished(TAG, "a", Blocked(by="base"))) == ""


def test_what_was_running_when_it_was_interrupted_is_told() -> None:
    lines = plain(started(BUILD, "a", 0), finished(BUILD, "a", Interrupted(), 3))
    assert lines == "build  a  started\nbuild  a  interrupted  (3.0 s)\n"


def test_nothing_that_a_build_prints_reaches_the_terminal_as_a_command() -> None:
    nasty = "\x1b]0;title\x07\x1b[2J[red]x"
    failed = replace(BROKEN, message=nasty, command=nasty + "y", log_tail=(nasty,), hint=nasty)
    nova = replace(SUMMARY.images["nova"], error=failed)
    summary = replace(SUMMARY, images={"nova": nova})
    shown = plain(
        Note(text=nasty),
        StepOutput(step=StepId(BUILD, "nova"), line=nasty),
        finished(BUILD, "nova", failed),
    ) + summary_text(summary)
    assert "\x1b" not in shown
    assert "title" not in shown
    assert "hint: [red]x" in shown


@pytest.mark.parametrize(
    ("outcome", "said"),
    [
        (Built(image_id="i", size=1, engine="e"), "ok"),
        (Built(image_id="i", size=1, engine="e", cached=True), "ok, nothing had to run"),
        (Reused(reference="r"), "unchanged"),
        (events.Tested(commands=2), "ok, 2 commands"),
        (Pushed(digest="d", uploaded=1200), "ok, 1.2 kB uploaded"),
        (Tagged(references=("a:1", "a:2")), "ok, a:1, a:2"),
        (Failed(message="two\nlines\n", exit_code=1), "FAILED: two lines"),
        (Blocked(by="base"), "blocked by base"),
        (Interrupted(), "interrupted"),
    ],
)
def test_every_outcome_has_words(outcome: Outcome, said: str) -> None:
    assert outcome_text(outcome) == said


def result(
    name: str, status: ImageStatus, action: str = "build", *, optional: bool = False
) -> ImageResult:
    refs = (f"{name}:1",) if status is ImageStatus.OK else ()
    return ImageResult(image=name, action=action, status=status, refs=refs, optional=optional)


@pytest.mark.parametrize(
    ("images", "exit_code", "release", "line"),
    [
        ([], 0, None, "ok: nothing to do; exit code 0"),
        (
            [result("a", ImageStatus.OK), result("b", ImageStatus.OK, "retag")],
            0,
            "ns/release:1",
            "ok: 1 built, 1 tagged anew; published ns/release:1; exit code 0",
        ),
        (
            [result("a", ImageStatus.OK), result("b", ImageStatus.FAILED, optional=True)],
            0,
            None,
            "ok: 1 built, 1 failed (1 of them optional); exit code 0",
        ),
        (
            [result("a", ImageStatus.INTERRUPTED), result("b", ImageStatus.SKIPPED)],
            130,
            None,
            "interrupted: 1 skipped, 1 interrupted; nothing was published; exit code 130",
        ),
    ],
)
def test_the_last_line_counts_and_gives_the_exit_code(
    images: list[ImageResult], exit_code: int, release: str | None, line: str
) -> None:
    summary = replace(
        SUMMARY,
        status={0: "ok", 130: "interrupted"}[exit_code],
        exit_code=exit_code,
        release=release,
        images={image.image: image for image in images},
    )
    assert last_line(summary) == line


def test_images_that_were_not_worked_on_have_no_row() -> None:
    unchanged = result("same", ImageStatus.OK, "reuse")
    never = result("never", ImageStatus.INTERRUPTED)
    stopped = replace(never, image="stopped", seconds=3.0)
    cached = replace(result("quick", ImageStatus.OK), cached=True)
    images = {each.image: each for each in (unchanged, never, stopped, cached)}
    table = summary_text(replace(SUMMARY, images=images)).split("\n\n")[0]
    assert [line.split()[0] for line in table.splitlines()] == ["image", "stopped", "quick"]
    assert "ok, cached" in table


def test_a_command_is_not_repeated_and_a_long_one_is_cut() -> None:
    def shown(failed: Failed) -> str:
        nova = replace(SUMMARY.images["nova"], error=failed)
        return summary_text(replace(SUMMARY, images={"nova": nova}))

    same = replace(BROKEN, message="RUN make all: failed", command="RUN  make\n all")
    assert shown(same).count("make") == 1
    script = "\n".join(f"line {number}" for number in range(20))
    cut = shown(replace(BROKEN, command=script))
    assert "  line 7\n  (12 more lines)\n" in cut
    assert "line 8" not in cut


def test_a_fanout_tells_all_in_order_and_hides_no_error() -> None:
    told_to: list[str] = []

    def breaks(event: Event) -> None:
        raise RuntimeError("broken report")

    note = Note(text="x")
    fanout(lambda _: told_to.append("a"), lambda _: told_to.append("b"))(note)
    assert told_to == ["a", "b"]
    with pytest.raises(RuntimeError, match="broken report"):
        fanout(breaks)(note)
