"""The house as it stands: its modules, what each imports and where, and how large it is.

Read from the text alone, so any checkout can be looked at. ``tests/unit/test_law.py`` holds the
law against it, ``scripts/shape.py`` prints its figures.
"""

from __future__ import annotations

import ast
import io
import tokenize
from collections import Counter
from collections.abc import Container, Iterator, Mapping
from functools import cached_property
from graphlib import CycleError, TopologicalSorter
from itertools import pairwise
from pathlib import Path

_SILENT = frozenset(
    {
        tokenize.COMMENT,
        tokenize.NL,
        tokenize.NEWLINE,
        tokenize.INDENT,
        tokenize.DEDENT,
        tokenize.ENDMARKER,
    }
)
_DEFINITIONS = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


def package_of(module: str) -> str:
    """The second word of a dotted name: builder.docker.daemon -> docker; "" for builder itself."""
    return [*module.split("."), ""][1]


class Module:
    """One file of the house."""

    def __init__(self, root: Path, path: Path) -> None:
        self.path = path.relative_to(root)
        self.text = path.read_text(encoding="utf-8")
        parts = self.path.with_suffix("").parts
        self.name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        self.package = package_of(self.name)

    @cached_property
    def tree(self) -> ast.Module:
        return ast.parse(self.text)

    @cached_property
    def nodes(self) -> list[ast.AST]:
        return list(ast.walk(self.tree))

    @property
    def docstring(self) -> str:
        """The first sentence of the docstring, on one line."""
        text = " ".join((ast.get_docstring(self.tree) or "").split("\n\n")[0].split())
        return text.partition(". ")[0].rstrip(".")

    @property
    def functions(self) -> Iterator[tuple[str, int, int]]:
        """The functions, each with its first and its last line."""
        for node in self.nodes:
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                yield node.name, node.lineno, node.end_lineno or 0

    @property
    def classes(self) -> Iterator[str]:
        return (node.name for node in self.nodes if isinstance(node, ast.ClassDef))

    def code_lines(self) -> tuple[int, int]:
        """How many lines are imports, and how many are other code: no blank, comment, docstring."""
        docs = self._lines(
            node.body[0]
            for node in self.nodes
            if isinstance(node, _DEFINITIONS) and ast.get_docstring(node, clean=False) is not None
        )
        imports = self._lines(n for n in self.nodes if isinstance(n, ast.Import | ast.ImportFrom))
        lines: set[int] = set()
        for token in tokenize.generate_tokens(io.StringIO(self.text).readline):
            if token.type not in _SILENT:
                lines.update(range(token.start[0], token.end[0] + 1))
        rows = self.text.splitlines()
        code = {line for line in lines - docs if rows[line - 1].strip()}
        return len(code & imports), len(code - imports)

    @staticmethod
    def _lines(nodes: Iterator[ast.stmt]) -> set[int]:
        return {n for node in nodes for n in range(node.lineno, (node.end_lineno or 0) + 1)}


class House:
    """All modules of ``builder/`` in a checkout."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.modules = [Module(root, path) for path in sorted((root / "builder").rglob("*.py"))]
        self.names = frozenset(module.name for module in self.modules)

    @property
    def entries(self) -> int:
        """What a newcomer sees first: the files and folders of ``builder/``."""
        inside = (module.path.parts[1] for module in self.modules)
        return len(
            {*inside, *(p.name for p in (self.root / "builder").glob("*.*"))} - {"__pycache__"}
        )

    def imports(self, module: Module) -> Iterator[tuple[str, int]]:
        """What it imports, anywhere in it, with the line: modules of ours, and foreign ones.

        Imports in functions count, and so do those for types alone.
        """
        for node in module.nodes:
            if isinstance(node, ast.Import):
                yield from ((alias.name, node.lineno) for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                assert node.level == 0, f"{module.path}:{node.lineno}: imports are absolute"
                names = [f"{node.module}.{alias.name}" for alias in node.names]
                ours = [name for name in names if name in self.names]
                yield from ((name, node.lineno) for name in ours)
                if len(ours) < len(names):
                    yield node.module or "", node.lineno

    def circle(self, known: Container[str] = ()) -> list[str]:
        """One circle of imports that are not ``known``, as the line of each.

        A package is imported before its modules in any case, so that is no import of theirs.
        """
        needs: dict[str, Mapping[str, str]] = {
            module.name: {
                imported: f"{module.path}:{line}: imports {imported}"
                for imported, line in self.imports(module)
                if imported in self.names
                and imported != module.name
                and not module.name.startswith(f"{imported}.")
                and f"{module.name} -> {imported}" not in known
            }
            for module in self.modules
        }
        try:
            TopologicalSorter(needs).prepare()
        except CycleError as error:
            around: list[str] = error.args[1]
            return [needs[importer][imported] for imported, importer in pairwise(around)]
        return []

    def repeated_classes(self) -> list[str]:
        """The names that more than one class has."""
        names = Counter(name for module in self.modules for name in module.classes)
        return sorted(name for name, count in names.items() if count > 1)
