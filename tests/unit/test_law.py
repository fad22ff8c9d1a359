"""The law of the house: the core decides, the edges act, the commands introduce them.

Every import counts, wherever it stands: at the top, in a function, or for types alone.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from graphlib import TopologicalSorter
from pathlib import Path

from tests.support.house import House, Module

ROOT = Path(__file__).parents[2]
LONGEST_MODULE = 400
LONGEST_FUNCTION = 60


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
    # The registry takes only what docker's own settings say from there.
    ("registry", "docker"): {"builder.docker.settings"},
}

# All of the standard library that the core may use: none of it reaches outside the process.
PURE = words(
    "__future__ abc base64 binascii bisect bz2 codecs collections compression contextlib copy csv "
    "dataclasses datetime difflib email.utils enum errno fnmatch functools graphlib gzip hashlib "
    "heapq io ipaddress itertools json lzma math operator pathlib posixpath re shlex stat string "
    "struct tarfile textwrap types typing unicodedata urllib.parse zlib"
)
# Of these the module itself alone, and none below it: http has HTTPStatus.
PURE_ALONE = frozenset({"http"})
PURE_PACKAGES = frozenset({"msgspec", "networkx"})
# A lock around what a library does once; nothing is decided by it.
ALSO = {"builder.core.codec": {"threading"}}
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
    "networkx": ("builder.core",),
    "pycurl": ("builder.http",),
    "rich": ("builder.report",),
    "subprocess": ("builder.system",),
    "tomli": ("builder.config",),
}

HOUSE = House(ROOT)
KNOWN = frozenset((Path(__file__).parent / "known_breaches.txt").read_text().splitlines())

Breaches = Iterator[tuple[str, int]]


def upward(house: House, module: Module) -> Breaches:
    """The imports of ours that the table does not allow, each with its line."""
    for imported, line in house.imports(module):
        other = imported.partition("builder.")[2].partition(".")[0]
        if not imported.startswith("builder.") or other == module.package:
            continue
        allowed = other in MAY_IMPORT.get(module.package, ())
        if not allowed or imported not in ONLY.get((module.package, other), {imported}):
            yield f"{module.name} -> {imported}", line


def impure(house: House, module: Module) -> Breaches:
    """What of a module of the core reaches outside: imports, and calls of what is built in."""
    if module.package != "core":
        return
    for imported, line in house.imports(module):
        top = imported.partition(".")[0]
        if top == "builder" or imported in PURE_ALONE:
            continue
        allowed = PURE | PURE_PACKAGES | ALSO.get(module.name, set())
        if not {top, imported} & allowed:
            yield f"{module.name} -> {imported}", line
    for node in module.nodes:
        if not isinstance(node, ast.Call):
            continue
        if isinstance(node.func, ast.Name) and node.func.id in IMPURE_NAMES:
            yield f"{module.name} calls {node.func.id}", node.lineno
        if isinstance(node.func, ast.Attribute) and node.func.attr in IMPURE_METHODS:
            yield f"{module.name} calls .{node.func.attr}", node.lineno


def strayed(house: House, module: Module) -> Breaches:
    """The imports of outside things that have their home elsewhere."""
    for imported, line in house.imports(module):
        homes = HOMES.get(imported.partition(".")[0])
        if homes and not f"{module.name}.".startswith(tuple(f"{home}." for home in homes)):
            yield f"{module.name} -> {imported}", line


def long(_house: House, module: Module) -> Breaches:
    """The functions that are too long."""
    for name, first, last in module.functions:
        if last - first >= LONGEST_FUNCTION:
            yield f"{module.name}: {name} is long; which two things is it?", first


def places(breaches: Callable[[House, Module], Breaches]) -> list[str]:
    """Those of all modules that are not known yet, each with file and line."""
    return [
        f"{module.path}:{line}: {text}"
        for module in HOUSE.modules
        for text, line in breaches(HOUSE, module)
        if text not in KNOWN
    ]


def test_the_table_is_total_and_has_no_circle() -> None:
    assert {module.package for module in HOUSE.modules} <= MAY_IMPORT.keys() | {""}
    TopologicalSorter(MAY_IMPORT).prepare()


def test_a_module_says_what_it_is_for_and_stays_small() -> None:
    for module in HOUSE.modules:
        assert module.docstring, f"{module.path}: the first line says its purpose"
        assert len(module.text.splitlines()) <= LONGEST_MODULE, f"{module.path}: which two things?"


def test_a_function_stays_small() -> None:
    assert places(long) == []


def test_a_module_imports_only_what_is_below_it() -> None:
    assert places(upward) == []


def test_the_core_reaches_nothing_outside() -> None:
    assert places(impure) == []


def test_each_outside_thing_has_one_home() -> None:
    assert places(strayed) == []


def test_imports_make_no_circle() -> None:
    assert HOUSE.circle(KNOWN) == []


def test_known_breaches_only_shrink() -> None:
    """Whoever mends one takes it off the list."""
    there = {f"{m.name} -> {imported}" for m in HOUSE.modules for imported, _ in HOUSE.imports(m)}
    there |= {text for m in HOUSE.modules for text, _ in (*impure(HOUSE, m), *long(HOUSE, m))}
    assert there >= KNOWN


def test_nobody_prints_and_nobody_runs_a_shell() -> None:
    for module in HOUSE.modules:
        for node in module.nodes:
            if isinstance(node, ast.Call):
                where = f"{module.path}:{node.lineno}"
                assert not (isinstance(node.func, ast.Name) and node.func.id == "print"), where
                assert not any(keyword.arg == "shell" for keyword in node.keywords), where
