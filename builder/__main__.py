"""argv and environment -> one command -> exit code; the only door for errors."""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from builder.commands.parser import parse, report_path
from builder.core.errors import Bug, InterruptedRunError, OcbuildError


def program() -> int:
    """What the command `ocbuild` is: ``main`` in a process of its own.

    A run lives for less than a second if little changed, and keeps most of what it makes: looking
    for garbage at each 700 new objects, and once more through all of them at the end, takes 30 ms
    of `list` and 50 ms of `plan` for 60 images. Cycles are still collected, only less often.
    """
    gc.set_threshold(50_000)
    try:
        return main()
    finally:
        gc.freeze()


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and give its exit code; never lets a traceback reach the user."""
    words = list(sys.argv[1:] if argv is None else argv)
    try:
        return parse(words)(os.environ)
    except KeyboardInterrupt:
        error = InterruptedRunError("interrupted")
        return _failed(error, error.exit_code, report_path(words))
    except BrokenPipeError:
        # The reader of our output went away (`ocbuild list | head`): nobody is left to tell.
        sys.stdout = None
        return 0
    except OcbuildError as error:
        told = _bug(error) if isinstance(error, Bug) else error
        return _failed(told, told.exit_code, report_path(words))
    except Exception as error:  # noqa: BLE001 - the one door: what gets here is our bug
        return _failed(_bug(error), Bug.exit_code, report_path(words))


def _failed(error: OcbuildError, exit_code: int, report: Path | None) -> int:
    sys.stderr.write(f"ocbuild: {error}\n")
    if report is not None:
        from builder.report.files import write_failure  # noqa: PLC0415 - 70 ms

        interrupted = exit_code == InterruptedRunError.exit_code
        status = "interrupted" if interrupted else "failed"
        write_failure(report, status=status, message=str(error))
    return exit_code


def _bug(error: Exception) -> OcbuildError:
    from builder.report.files import told_bug  # noqa: PLC0415 - 70 ms

    return told_bug(error)


if __name__ == "__main__":
    sys.exit(program())
