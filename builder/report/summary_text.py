"""The end of a run as text: what was done, what was blocked, and last what has to be mended."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from builder.core.events import Failed, ImageResult, ImageStatus, Summary
from builder.core.plan import Action
from builder.report.outcome import failure_line
from builder.report.text import clean, clean_lines, columns, counted, duration, size

_LONGEST_COMMAND = 8
_DONE = {
    Action.BUILD.value: "built",
    Action.ASSEMBLE.value: "assembled",
    Action.RETAG.value: "tagged anew",
    Action.REUSE.value: "unchanged",
}


def summary_text(summary: Summary) -> str:
    """All of it, plain text without colour, no newline at the end."""
    failed = [image for image in summary.images.values() if image.error is not None]
    parts = [
        "\n".join(_table(summary)),
        "\n".join(_blocked(summary)),
        "\n".join(f"note: {clean(remark)}" for remark in summary.remarks),
        "\n".join([*_times(summary), last_line(summary)]),
        *("\n".join(_failure(image, image.error)) for image in failed if image.error),
    ]
    return "\n\n".join(part for part in parts if part)


def last_line(summary: Summary) -> str:
    """How many of what, what was published, and the exit code."""
    results = summary.images.values()
    counts: Counter[str] = Counter(_word(result) for result in results)
    order = [*_DONE.values(), "failed", "blocked", "skipped", "interrupted"]
    parts = [f"{counts[word]} {word}" for word in order if counts[word]]
    told = ", ".join(parts) or "nothing to do"
    optional = sum(r.optional and r.status is not ImageStatus.OK for r in results)
    if optional:
        told += f" ({optional} of them optional)"
    if summary.release:
        told += f"; published {clean(summary.release)}"
    elif summary.exit_code and not any(result.refs for result in results):
        told += "; nothing was published"
    return f"{summary.status}: {told}; exit code {summary.exit_code}"


def _word(result: ImageResult) -> str:
    if result.status is not ImageStatus.OK:
        return str(result.status.value)
    return _DONE.get(result.action, result.action)


def _table(summary: Summary) -> Iterator[str]:
    """What was worked on, in build order; all other images are counted or grouped elsewhere."""
    rows = [
        (
            clean(result.image),
            result.action,
            "FAILED" if result.status is ImageStatus.FAILED else _status(result),
            duration(result.seconds) if result.seconds else "-",
            size(result.size) if result.size is not None else "-",
        )
        for result in summary.images.values()
        if _has_row(result)
    ]
    if rows:
        yield from columns([("image", "action", "status", "time", "size"), *rows], right=(3, 4))


def _has_row(result: ImageResult) -> bool:
    if result.status is ImageStatus.OK:
        return result.action != Action.REUSE.value
    return result.status is ImageStatus.FAILED or result.seconds > 0


def _status(result: ImageResult) -> str:
    return f"{result.status.value}, cached" if result.cached else result.status.value


def _blocked(summary: Summary) -> Iterator[str]:
    groups: dict[str, list[str]] = {}
    for result in summary.images.values():
        if result.status is ImageStatus.BLOCKED:
            groups.setdefault(result.blocked_by or "", []).append(clean(result.image))
    for by, images in groups.items():
        reason = f"blocked by {clean(by)}" if by else "blocked"
        yield f"{reason}: {', '.join(images)}"


def _times(summary: Summary) -> Iterator[str]:
    if summary.bound_seconds > 0:
        bound = duration(summary.bound_seconds)
        yield f"took {duration(summary.seconds)}; these builds needed {bound} at the least"


def _failure(result: ImageResult, failed: Failed) -> Iterator[str]:
    optional = " (optional)" if result.optional else ""
    yield f"FAILED {clean(result.image)}{optional}"
    yield failure_line(failed)
    yield from _command(failed)
    if failed.log_tail:
        yield "the end of its output:"
        yield from (f"  | {clean(line)}" for line in failed.log_tail)
    if result.log:
        yield f"log:  {clean(result.log)}"
    hints = [*clean_lines(failed.hint or ""), _again(result)]
    yield from (f"hint: {hint}" for hint in hints if hint)


def _command(failed: Failed) -> Iterator[str]:
    """The instruction as it is written, unless the message has all of it."""
    command = failed.command or ""
    if " ".join(command.split()) in failed.message:
        return
    lines = clean_lines(command)
    yield from (f"  {line}" for line in lines[:_LONGEST_COMMAND])
    if len(lines) > _LONGEST_COMMAND:
        yield f"  ({counted(len(lines) - _LONGEST_COMMAND, 'more line')})"


def _again(result: ImageResult) -> str:
    return f"`ocbuild build {clean(result.image)}` repeats only this image"
