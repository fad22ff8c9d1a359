"""The report of a run that has ended as a text, whichever version of ocbuild wrote it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from builder.report.text import clean, columns, counted, duration, size

_DIGEST = slice(len("sha256:"), len("sha256:") + 12)


def text(report: Mapping[str, Any], *, bad_only: bool = False) -> str:
    """A row for each image, what failed and why, and how it ended; no newline at the end."""
    images: Mapping[str, Mapping[str, Any]] = report.get("images") or {}
    shown = {name: one for name, one in images.items() if not bad_only or one.get("status") != "ok"}
    parts = [
        "\n".join(_head(report)),
        "\n".join(_table(shown)),
        *("\n".join(_failure(name, one)) for name, one in images.items() if one.get("error")),
        "\n".join(_foot(report, images)),
    ]
    return "\n\n".join(part for part in parts if part)


def _head(report: Mapping[str, Any]) -> Iterator[str]:
    if run := report.get("run_id"):
        dirty = ", with uncommitted edits" if report.get("dirty") else ""
        yield f"run {clean(str(run))}, commit {clean(str(report.get('commit') or '-'))}{dirty}"
        yield f"started {clean(str(report.get('started') or '-'))}"


def _table(images: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    rows = [
        (
            clean(name),
            _cell(one, "action"),
            "FAILED" if one.get("status") == "failed" else _cell(one, "status"),
            duration(float(one["seconds"])) if one.get("seconds") else "-",
            _size(one.get("size")),
            _size(one.get("pushed_bytes")),
            str(one.get("digest") or "")[_DIGEST] or "-",
        )
        for name, one in images.items()
    ]
    if rows:
        head = ("image", "action", "status", "time", "size", "pushed", "digest")
        yield from columns([head, *rows], right=(3, 4, 5))


def _cell(one: Mapping[str, Any], key: str) -> str:
    return clean(str(one.get(key) or "-"))


def _size(value: object) -> str:
    return size(value) if isinstance(value, int) and value else "-"


def _failure(name: str, one: Mapping[str, Any]) -> Iterator[str]:
    yield f"{clean(name)}: {clean(str(one['error']))}"
    if one.get("log"):
        yield f"log:  {clean(str(one['log']))}"


def _foot(report: Mapping[str, Any], images: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    if error := report.get("error"):
        yield from (clean(line) for line in str(error).splitlines())
    counts = Counter(str(one.get("status")) for one in images.values())
    told = ", ".join(f"{count} {clean(status)}" for status, count in counts.most_common())
    line = f"{clean(str(report.get('status') or 'unknown'))}: {counted(len(images), 'image')}"
    line += f" ({told})" if told else ""
    if seconds := report.get("seconds"):
        line += f" in {duration(float(seconds))}"
    if bound := report.get("bound_seconds"):
        line += f", of which {duration(float(bound))} were needed at the least"
    yield line
    if release := report.get("release"):
        yield f"published {clean(str(release))}"
