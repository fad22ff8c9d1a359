"""The commands that read and show and make no image: graph, list, check and report."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path

from builder.config.load import find_config
from builder.core import drawing
from builder.core.codec import convert
from builder.core.errors import InputError, InputErrors, UsageError
from builder.core.options import (
    GraphOptions,
    ListOptions,
    ReportOptions,
    SelectOptions,
    TreeOptions,
)
from builder.core.run_json import RunReport, report_text
from builder.report.streams import print_json
from builder.system.process import ProgramMissingError, run
from builder.tree.read import LAST_REPORT, Tree, check_tree, choose_images, read_tree

Environ = Mapping[str, str]


def graph(
    tree: TreeOptions, selection: SelectOptions, options: GraphOptions, _environ: Environ
) -> int:
    read = read_tree(tree)
    names = choose_images(read, selection).images
    if options.format == "json":
        print_json(drawing.as_json(read.graph, names, read.tags))
    elif options.format == "tree":
        sys.stdout.write(drawing.as_tree(read.graph, names))
    elif options.format == "mermaid":
        sys.stdout.write(drawing.as_mermaid(read.graph, names))
    else:
        dot = drawing.as_dot(read.graph, names)
        sys.stdout.write(dot if options.format == "dot" else _svg(dot))
    return 0


def _svg(dot: str) -> str:
    try:
        drawn = run(["dot", "-Tsvg"], input=dot.encode())
    except ProgramMissingError as error:
        raise UsageError(
            "--format svg needs Graphviz, which is not installed",
            hint="install the package graphviz, or use --format mermaid",
        ) from error
    if drawn.returncode != 0:
        raise UsageError(f"dot failed: {drawn.stderr.decode(errors='replace').strip()}")
    return drawn.stdout.decode()


def list_images(
    tree: TreeOptions, selection: SelectOptions, options: ListOptions, _environ: Environ
) -> int:
    read = read_tree(tree)
    rows = [_row(read, name) for name in choose_images(read, selection).images]
    if options.as_json:
        print_json(rows)
        return 0
    widths = [max((len(str(row[key])) for row in rows), default=0) for key in COLUMNS]
    for row in rows:
        cells = [str(row[key]).ljust(width) for key, width in zip(COLUMNS, widths, strict=True)]
        sys.stdout.write("  ".join(cells).rstrip() + "\n")
    return 0


COLUMNS = ("image", "group", "tag", "dir")


def _row(tree: Tree, name: str) -> dict[str, object]:
    image = tree.graph[name]
    return {
        "image": name,
        "group": image.group,
        "tag": tree.tags[name],
        "dir": image.source.directory,
        "ref": str(image.repository),
        "level": image.level,
        "parents": list(image.parents),
    }


def check(
    tree: TreeOptions, selection: SelectOptions, options: ListOptions, _environ: Environ
) -> int:
    """Show every error and every warning; 2 if there is an error, else 0."""
    errors: list[InputError] = []
    findings = check_tree(tree, selection, errors)
    flat = [single for error in errors for single in _singles(error)]
    if options.as_json:
        shown = {
            "errors": [_finding(error.where, error.message, error.hint) for error in flat],
            "warnings": [_finding(f.where, f.message, f.hint) for f in findings.warnings],
        }
        print_json(shown)
    else:
        for finding in findings.warnings:
            sys.stdout.write(f"{finding}\n")
        for error in flat:
            sys.stdout.write(f"{error}\n")
        counts = f"{len(flat)} errors, {len(findings.warnings)} warnings"
        sys.stdout.write(f"{findings.images} images: {counts}\n")
    return InputError.exit_code if flat else 0


def _singles(error: InputError) -> tuple[InputError, ...]:
    return error.errors if isinstance(error, InputErrors) else (error,)


def _finding(where: object, message: str, hint: str | None) -> dict[str, object]:
    file, line = getattr(where, "path", None), getattr(where, "line", None)
    return {"file": file, "line": line, "message": message, "hint": hint}


def report(tree: TreeOptions, options: ReportOptions, _environ: Environ) -> int:
    """Show the report of a run that has ended."""
    file = options.file
    if file is None:
        file = find_config(Path.cwd(), tree.config).parent / LAST_REPORT
        if not file.exists():
            raise UsageError(
                "nothing was built in this tree yet, so there is no report",
                hint="`ocbuild all` writes one",
            )
    try:
        document = json.loads(file.read_bytes())
        run_report = convert(document, RunReport, what="the report")
    except OSError as error:
        raise UsageError(f"cannot read {file}: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise UsageError(
            f"{file} is no report of ocbuild", hint="--report FILE of a build writes one"
        ) from error
    if options.as_json:
        if options.failed:
            bad = {name for name, image in run_report.images.items() if image.status != "ok"}
            images = document["images"].items()
            document["images"] = {name: image for name, image in images if name in bad}
        print_json(document)
    else:
        sys.stdout.write(report_text(run_report, bad_only=options.failed) + "\n")
    return 0
