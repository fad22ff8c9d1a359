"""The law of the house: the core decides, the edges act, the commands introduce them.

Every import counts, wherever it stands: at the top, in a function, or for types alone.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from functools import cache
from graphlib import CycleError, TopologicalSorter
from itertools import pairwise
from pathlib import Path

ROOT = Path(__file__).parents[2]
HOUSE = ROOT / "builder"
LONGEST_MODULE = 400


def words(text: str) -> frozenset[str]:
    return frozenset(text.split())


# What each package may import; a package may always import itself.
MAY_IMPORT: dict[str, frozenset[str]] = {
    package: words(others)
    for package, others in {
        "core": "",
        "system": "core",
        "config": "core system",
        "http": "core",
        "docker": "core system http",
        "registry": "core system http docker",
        "tree": "core system config",
        "engines": "core system config http docker registry tree",
        "publish": "core system config docker registry tree",
        "report": "core system",
        "run": "core system config docker registry tree engines publish report",
        "refresh": "core system config http docker registry engines publish",
        "deploy": "core system config docker registry tree publish report",
        "doctor": "core system config http docker registry tree engines publish report deploy",
        "commands": "core system config http docker registry tree engines publish report run"
        " refresh deploy doctor",
        "__main__": "core report commands",
    }.items()
}
# Who else may import a package of these that the table allows to all above it.
ONLY = {
    # The registry takes only the logins and the address of the engine from there.
    ("registry", "docker"): {"builder.docker.logins", "builder.docker.endpoint"},
}

# All of the standard library that the core may use: none of it reaches outside the process.
PURE = words(
    "__future__ abc base64 binascii bisect bz2 collections compression contextlib copy "
    "dataclasses datetime difflib enum errno fnmatch functools graphlib gzip hashlib heapq "
    "io ipaddress itertools json lzma math operator pathlib posixpath re shlex stat string "
    "struct tarfile textwrap types typing unicodedata urllib.parse zlib"
)
PURE_PACKAGES = frozenset({"msgspec", "networkx"})
# Calls that reach outside although their module may be imported.
IMPURE_NAMES = frozenset({"open", "input", "print", "exec", "eval"})
IMPURE_METHODS = words(
    "read_text read_bytes write_text write_bytes exists is_file is_dir is_symlink lstat "
    "iterdir glob rglob readlink mkdir rmdir unlink touch symlink_to expanduser cwd home "
    "now today utcnow"
)

# Each outside thing has one home.
HOMES = {
    "argparse": ("builder.commands",),
    "docker": ("builder.docker",),
    "git": ("builder.tree",),
    "httptools": ("builder.http",),
    "networkx": ("builder.core",),
    "pycurl": ("builder.http",),
    "rich": ("builder.report",),
    "subprocess": ("builder.system",),
    "tomli": ("builder.config",),
}

MODULES = sorted(HOUSE.rglob("*.py"))
KNOWN = set((Path(__file__).parent / "known_breaches.txt").read_text().splitlines())


def name_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


NAMES = {name_of(path) for path in MODULES}


@cache
def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def package_of(module: str) -> str:
    """The second word of a dotted name: builder.docker.daemon -> docker; "" for builder itself."""
    return [*module.split("."), ""][1]


def imports(path: Path) -> Iterator[tuple[str, int]]:
    """What a module imports, anywhere in it, with the line: modules of ours, and foreign ones."""
    for node in ast.walk(parsed(path)):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: imports are absolute"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
            ours = [name for name in names if name in NAMES]
            yield from ((name, node.lineno) for name in ours)
            if len(ours) < len(names):
                yield node.module or "", node.lineno


def upward(path: Path) -> Iterator[tuple[str, int]]:
    """The imports of ours that the table does not allow."""
    module = name_of(path)
    package = package_of(module)
    for imported, line in imports(path):
        other = package_of(imported)
        if not imported.startswith("builder.") or other in ("", package):
            continue
        allowed = other in MAY_IMPORT.get(package, ())
        if not allowed or imported not in ONLY.get((package, other), {imported}):
            yield f"{module} -> {imported}", line


def impure(path: Path) -> Iterator[tuple[str, int]]:
    """What of a module of the core reaches outside: imports, and calls of what is built in."""
    module = name_of(path)
    for imported, line in imports(path):
        top = imported.partition(".")[0]
        if top != "builder" and not {top, imported} & (PURE | PURE_PACKAGES):
            yield f"{module} -> {imported}", line
    for node in ast.walk(parsed(path)):
        if not isinstance(node, ast.Call):
            continue
        if isinstance(node.func, ast.Name) and node.func.id in IMPURE_NAMES:
            yield f"{module} calls {node.func.id}", node.lineno
        if isinstance(node.func, ast.Attribute) and node.func.attr in IMPURE_METHODS:
            yield f"{module} calls .{node.func.attr}", node.lineno


def strayed(path: Path) -> Iterator[tuple[str, int]]:
    """The imports of outside things that have their home elsewhere."""
    module = name_of(path)
    for imported, line in imports(path):
        homes = HOMES.get(imported.partition(".")[0])
        if homes and not f"{module}.".startswith(tuple(f"{home}." for home in homes)):
            yield f"{module} -> {imported}", line


def places(breaches: Callable[[Path], Iterator[tuple[str, int]]], package: str = "") -> list[str]:
    """Those of all modules, or of one package, that are not known yet; with file and line."""
    return [
        f"{path.relative_to(ROOT)}:{line}: {text}"
        for path in MODULES
        if package in ("", package_of(name_of(path)))
        for text, line in breaches(path)
        if text not in KNOWN
    ]


def test_the_table_is_total_and_has_no_circle() -> None:
    assert {package_of(name) for name in NAMES} <= MAY_IMPORT.keys() | {""}
    TopologicalSorter(MAY_IMPORT).prepare()


def test_a_module_says_what_it_is_for_and_stays_small() -> None:
    for path in MODULES:
        assert ast.get_docstring(parsed(path)), f"{path}: the first line says its purpose"
        lines = len(path.read_text(encoding="utf-8").splitlines())
        assert lines <= LONGEST_MODULE, f"{path}: which two things is it?"


def test_a_module_imports_only_what_is_below_it() -> None:
    assert places(upward) == []


def test_the_core_reaches_nothing_outside() -> None:
    assert places(impure, "core") == []


def test_each_outside_thing_has_one_home() -> None:
    assert places(strayed) == []


def circle() -> list[str]:
    """One circle of imports, as the line of each; a module needs no package that it lies in."""
    needs: dict[str, dict[str, str]] = {}
    for path in MODULES:
        module = name_of(path)
        needs[module] = {
            imported: f"{path.relative_to(ROOT)}:{line}: imports {imported}"
            for imported, line in imports(path)
            if imported in NAMES
            and imported != module
            and not module.startswith(f"{imported}.")
            and f"{module} -> {imported}" not in KNOWN
        }
    try:
        TopologicalSorter(needs).prepare()
    except CycleError as error:
        around = error.args[1]
        return [needs[b][a] for a, b in pairwise(around)]
    return []


def test_imports_make_no_circle() -> None:
    assert circle() == []


def test_known_breaches_only_shrink() -> None:
    """Whoever mends one takes it off the list."""
    edges = {f"{name_of(path)} -> {imported}" for path in MODULES for imported, _ in imports(path)}
    calls = {text for path in MODULES for text, _ in impure(path)}
    assert KNOWN - edges - calls == set()


def test_nobody_prints_and_nobody_runs_a_shell() -> None:
    for path, node in ((each, node) for each in MODULES for node in ast.walk(parsed(each))):
        if isinstance(node, ast.Call):
            where = f"{path.relative_to(ROOT)}:{node.lineno}"
            assert not (isinstance(node.func, ast.Name) and node.func.id == "print"), where
            assert not any(keyword.arg == "shell" for keyword in node.keywords), where
