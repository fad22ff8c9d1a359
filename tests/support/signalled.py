"""A program that runs two steps until it gets a signal: ``python -m tests.support.signalled MODE``.

MODE ``heeds``: the running step ends when it is told to. ``deaf``: it never does. ``hangs``: not
even the report comes to an end.
"""

from __future__ import annotations

import json
import sys
import threading
import time

from builder.core.errors import InterruptedRunError
from builder.core.events import Event, Note, Outcome, Phase, RunFinished, StepId, StepProgress
from builder.core.plan import Plan
from builder.core.run_json import report_json
from builder.core.summary import summarise
from builder.core.tasks import BUILD_POOL, connect
from builder.report.streams import PlainReport, fanout
from builder.run.execute import execute, signals
from builder.run.workers import Context
from builder.system.resources import SystemClock
from tests.support.decisions import decision


def main(mode: str) -> int:
    def work(step: StepId, context: Context) -> Outcome:
        context.emit(StepProgress(step=step, text="works"))
        if mode == "heeds":
            context.cancel.wait()
            raise InterruptedRunError("stopped")
        threading.Event().wait()
        raise AssertionError("an event that nobody sets was set")

    def hang(event: Event) -> None:
        if mode == "hangs" and isinstance(event, Note):
            while True:
                time.sleep(0.01)

    def ready(event: Event) -> None:
        if isinstance(event, StepProgress):
            sys.stdout.write("ready\n")
            sys.stdout.flush()

    clock = SystemClock()
    plan = Plan(
        commit="",
        dirty=False,
        steps=tuple(
            decision(name, *parents) for name, parents in (("base", ()), ("nova", ("base",)))
        ),
    )
    steps = connect(plan, {"base": (Phase.BUILD,), "nova": (Phase.BUILD,)}, {})
    cancel, kill = threading.Event(), threading.Event()
    report = fanout(PlainReport(sys.stderr), ready, hang)
    with signals(cancel, kill):
        results = execute(
            steps,
            work,
            limits={BUILD_POOL: 1, "push": 1},
            clock=clock,
            report=report,
            cancel=cancel,
            kill=kill,
            grace=600,
        )
    summary = summarise(
        plan,
        results.finished,
        run_id="run",
        steps=steps,
        jobs=1,
        started=clock.now(),
        seconds=0.0,
        interrupted=results.interrupted,
        log_of=lambda name: f"logs/{name}.log",
    )
    report(RunFinished(summary=summary, at=clock.now()))
    sys.stdout.write(json.dumps(report_json(summary)) + "\n")
    return summary.exit_code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
