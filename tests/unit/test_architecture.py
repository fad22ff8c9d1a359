"""The law of the house: the core decides, the edges act, the pipeline introduces them."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "builder"
LONGEST_MODULE = 400

# Pure: values in, values out. No file, no process, no clock, no thread, no network.
CORE = {
    "assembler",
    "backoff",
    "checks",
    "difference",
    "dockerfile",
    "drawing",
    "errors",
    "events",
    "globs",
    "graph",
    "ignore",
    "image",
    "intree",
    "keys",
    "labels",
    "naming",
    "options",
    "packages",
    "plan",
    "reference",
    "release",
    "remarks",
    "renewal",
    "retention",
    "schedule",
    "select",
    "stale",
    "steps",
    "values",
}
OUTSIDE = {
    "docker",
    "git",
    "os",
    "random",
    "requests",
    "rich",
    "shutil",
    "signal",
    "socket",
    "subprocess",
    "sys",
    "tempfile",
    "threading",
    "time",
    "urllib3",
}
# Each outside thing has one home.
HOMES = {
    "docker": {"engines"},
    "git": {"revision"},
    "networkx": {"graph"},
    "rich": {"report"},
    "subprocess": {"process"},
    "argparse": {
        "arguments",
        "arguments_complete",
        "arguments_deploy",
        "arguments_machine",
        "arguments_release",
        "arguments_shared",
    },
}
# Who may know the stages that introduce the others to each other.
TOP = {
    "cli": {"__main__"},
    "arguments": {"cli"},
    "pipeline": {"arguments", "refreshing"},
    "refreshing": {"arguments"},
    "inspection": {"arguments", "arguments_machine"},
    "machine": {"pipeline", "planning", "run"},
    "planning": {"pipeline"},
    "run": {"pipeline"},
}

MODULES = sorted(PACKAGE.rglob("*.py"))


def name_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def part(module: str) -> str:
    """The second word of a dotted name: builder.engines.daemon -> engines."""
    return [*module.split("."), ""][1]


def imports(path: Path) -> Iterator[tuple[str, bool]]:
    """Dotted names that a module imports, and whether it does so when it is itself imported."""
    tree = ast.parse(path.read_text())
    lazy = {
        id(node)
        for outer in ast.walk(tree)
        if isinstance(outer, ast.FunctionDef | ast.If)
        for node in ast.walk(outer)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, id(node) not in lazy
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module, id(node) not in lazy
            for alias in node.names:
                yield f"{node.module}.{alias.name}", id(node) not in lazy


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_a_module_says_what_it_is_for_and_stays_small(path: Path) -> None:
    text = path.read_text()
    assert ast.get_docstring(ast.parse(text)), "the first line says its purpose"
    assert len(text.splitlines()) <= LONGEST_MODULE, "which two things is it?"


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_a_module_imports_only_what_it_may(path: Path) -> None:
    module = name_of(path)
    for imported, _ in imports(path):
        top = imported.split(".")[0]
        if part(module) in CORE:
            assert top not in OUTSIDE, f"{module} is pure, and {imported} is not"
            if top == "builder" and part(imported):
                assert part(imported) in CORE, f"{module} is pure, and {imported} is not"
        if top in HOMES:
            assert part(module) in HOMES[top], f"{imported} has its home in {HOMES[top]}"
        if top == "builder" and part(imported) in TOP:
            knows = part(module) in TOP[part(imported)] or part(module) == part(imported)
            assert knows, f"{module} must not know {imported}"


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_a_value_costs_nothing_before_it_is_used(path: Path) -> None:
    names = {imported for imported, _ in imports(path)}
    assert "dataclasses.dataclass" not in names or path.stem == "values", "see builder.values"


def test_imports_make_no_circle() -> None:
    known = {name_of(path) for path in MODULES}
    needs = {
        name_of(path): {
            name
            for name, eager in imports(path)
            # A package is imported before its modules in any case.
            if eager and name in known and not name_of(path).startswith(name)
        }
        for path in MODULES
    }
    TopologicalSorter(needs).prepare()


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_nobody_prints_and_nobody_runs_a_shell(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call):
            assert not (isinstance(node.func, ast.Name) and node.func.id == "print")
            assert not any(keyword.arg == "shell" for keyword in node.keywords)
