"""The command line as values: every option of every command, typed and with its default."""

from __future__ import annotations

import math
from collections.abc import Callable
from enum import Enum
from pathlib import Path
from typing import Any

from msgspec import Struct

# What makes images, the quickest first.
ENGINES = ("assembler", "buildx", "engine-api", "classic")


class TreeOptions(Struct, frozen=True, kw_only=True):
    """Which tree is read, and how: shared by all commands that look at images."""

    config: Path | None = None
    sets: tuple[str, ...] = ()
    registry: str | None = None
    namespace: str | None = None
    commit: str | None = None


class SelectOptions(Struct, frozen=True, kw_only=True):
    """Which images of the tree are meant."""

    targets: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    since: str | None = None
    retry_failed: bool = False


class BuildOptions(Struct, frozen=True, kw_only=True):
    """How images are made and published; None means: as build.toml says."""

    push: bool = False
    jobs: int | None = None
    engine: str | None = None
    keep_going: bool = True
    no_reuse: bool = False
    no_cache: bool = False
    allow_dirty: bool = False
    lock: bool = False
    locked: bool = False
    dry_run: bool = False
    report: Path | None = None
    progress: str = "auto"
    as_json: bool = False


class DeployOptions(Struct, frozen=True, kw_only=True):
    """Which stacks are meant, and how long each may take; no stack means all of them."""

    stacks: tuple[str, ...] = ()
    release: str = "latest"
    host: str | None = None
    env_file: Path | None = None
    timeout: float = 600.0
    dry_run: bool = False


class StatusOptions(Struct, frozen=True, kw_only=True):
    """How the state of stacks is shown, and with which release it is compared (None: what runs)."""

    against: str | None = None
    watch: bool = False
    interval: float = 2.0
    as_json: bool = False


class SwarmOptions(Struct, frozen=True, kw_only=True):
    """Which hosts are meant: ``host`` makes a swarm, ``hosts`` join it; and its addresses.

    What is left out is as build.toml says.
    """

    host: str | None = None
    hosts: tuple[str, ...] = ()
    advertise_addr: str | None = None
    data_path_addr: str | None = None
    dry_run: bool = False


class PromoteOptions(Struct, frozen=True, kw_only=True):
    """Which release is copied to where; ``target`` is REGISTRY/NAMESPACE as it was written."""

    tag: str
    target: str
    dry_run: bool = False
    as_json: bool = False


class PruneOptions(Struct, frozen=True, kw_only=True):
    """What is kept, None meaning: as build.toml says; and whether the rest is really deleted."""

    keep_commits: int | None = None
    keep_days: int | None = None
    branch: str | None = None
    delete: bool = False
    collect: bool = False
    as_json: bool = False


class ListOptions(Struct, frozen=True, kw_only=True):
    """How a list is shown: images, findings, releases."""

    as_json: bool = False


class GraphOptions(Struct, frozen=True, kw_only=True):
    """How the graph is drawn."""

    format: str = "tree"


class RegistryOptions(Struct, frozen=True, kw_only=True):
    """What is done with the embedded registry; ``address`` is HOST:PORT, None: the usual one."""

    action: str
    address: str | None = None
    as_json: bool = False


class ReleaseOptions(Struct, frozen=True, kw_only=True):
    """Which release is looked at, None: the latest; ``deep`` reads every byte of it."""

    tag: str | None = None
    deep: bool = False
    as_json: bool = False


class DiffOptions(Struct, frozen=True, kw_only=True):
    """Which two releases are compared."""

    old: str
    new: str
    as_json: bool = False


class DownOptions(Struct, frozen=True, kw_only=True):
    """Whether the data of stacks goes with their containers."""

    volumes: bool = False


class LogsOptions(Struct, frozen=True, kw_only=True):
    """How much is shown of what containers wrote: ``tail`` lines of each, "all" for all."""

    tail: str = "100"
    follow: bool = False


class ReportOptions(Struct, frozen=True, kw_only=True):
    """Which report is shown, None: that of the last run; ``failed``: only what did not succeed."""

    file: Path | None = None
    failed: bool = False
    as_json: bool = False


class CompletionOptions(Struct, frozen=True, kw_only=True):
    """Which shell completes."""

    shell: str


class InitOptions(Struct, frozen=True, kw_only=True):
    """For which folder a build.toml is proposed; ``show``: it is printed and not written."""

    folder: Path = Path()
    force: bool = False
    show: bool = False


class WordKind(Enum):
    """What a word names that no row of the table can list."""

    TARGET = "target"
    STACK = "stack"
    HOST = "host"
    RELEASE = "release"
    FILE = "file"


class Limit(Struct, frozen=True):
    """Which numbers an option takes, and what is said of all others."""

    allows: Callable[[float], bool]
    text: str


class Argument(Struct, frozen=True, kw_only=True):
    """One option, or one operand, whose only word is without dashes.

    Its value becomes ``field`` of a value of ``builder.core.options``, whose default holds where
    the argument is not given. ``const`` makes it a flag: what it sets, None for all others.
    """

    words: tuple[str, ...]
    field: str
    help: str | None = None
    metavar: str | None = None
    type: Callable[[str], Any] = str
    choices: tuple[str, ...] | None = None
    const: object = None
    # It may be given again and again; as an operand, any number of times.
    repeated: bool = False
    required: bool = False
    # Options of one group exclude each other.
    group: str | None = None
    limit: Limit | None = None
    # The field of the flag without which it is an error, and that error.
    only_with: tuple[str, str] | None = None
    # The variable of the environment that stands in for it.
    variable: str | None = None
    offers: WordKind | None = None

    @property
    def is_option(self) -> bool:
        return self.words[0].startswith("-")

    @property
    def meaning(self) -> str:
        """The start of the help, which is enough to choose by."""
        return (self.help or "").partition(" (")[0].partition(";")[0]


def flag(word: str, meaning: str, *, const: object = True, **more: Any) -> Argument:
    """An option without a value."""
    return _argument(word, help=meaning, const=const, **more)


def option(word: str, metavar: str | None, meaning: str | None, **more: Any) -> Argument:
    """An option with a value."""
    return _argument(word, metavar=metavar, help=meaning, **more)


def operand(
    field: str, metavar: str | None, meaning: str | None, *, required: bool = True, **more: Any
) -> Argument:
    """A word that is known by its place."""
    return _argument(field, metavar=metavar, help=meaning, required=required, **more)


def _argument(word: str, *, also: str = "", **more: Any) -> Argument:
    """``also`` is another word for the same. The first names the field, where none is given."""
    more.setdefault("field", word.lstrip("-").replace("-", "_"))
    if more.get("type") is Path:
        more["offers"] = WordKind.FILE
    return Argument(words=(word, also) if also else (word,), **more)


HELP = flag("--help", "show this help message and exit", also="-h")
VERSION = flag("--version", "show program's version number and exit")


class CommandRow(Struct, frozen=True):
    """A row of the table: what the command is called, what it takes, and what runs it.

    ``run`` is MODULE:FUNCTION below ``builder.commands``, "" for the first word of commands that
    all have two. It is called with one value for each of ``takes``, and the environment.
    """

    name: str
    summary: str
    run: str = ""
    takes: tuple[type[Struct], ...] = ()
    arguments: tuple[Argument, ...] = ()
    # That no target means all of them is for commands that change nothing.
    target_required: bool = False

    @property
    def description(self) -> str:
        return f"{self.summary[0].upper()}{self.summary[1:]}."

    @property
    def has_targets(self) -> bool:
        return SelectOptions in self.takes

    def option(self, word: str) -> Argument | None:
        """The option that ``word`` is, without what may follow after "="."""
        name = word.partition("=")[0]
        return next((row for row in self.arguments if row.is_option and name in row.words), None)

    def operand(self, number: int) -> Argument | None:
        """The operand that the word with this number would be."""
        operands = [row for row in self.arguments if not row.is_option]
        if operands and operands[-1].repeated:
            return operands[min(number, len(operands) - 1)]
        return operands[number] if number < len(operands) else None


# --- arguments that several commands share ------------------------------------------------------

TARGETS = """\
targets (several are united):
  all                 every image
  nova-api            that image
  contrail            a group
  nova-*              a glob
  nova+  +nova        the image and all built on it; the image and all it is built on
  label:KEY[=VALUE]   images whose Dockerfile sets that label
  @changed            images with an input changed since --since REF (default: the merge-base with
                      the default branch), uncommitted edits included; @changed+ adds what is
                      built on them
"""
EXIT_CODES = """\
exit codes:
  0 all well · 1 an image failed to build or test · 2 bad usage, build.toml or tree
  3 no usable engine · 4 publishing failed · 5 deployment failed · 70 a bug · 130 interrupted
"""
# fmt: off
JSON = flag("--json", "print JSON on stdout", field="as_json")
TREE = (
    option("--config", "FILE", "build.toml (default: in this folder or the nearest parent)",
           type=Path),
    option("--set", "KEY=VALUE", "override any key of build.toml, e.g. --set build.jobs=4",
           field="sets", repeated=True),
    option("--registry", "HOST", 'host[:port], or "local"'),
    option("--namespace", "NAME", "where images are published"),
    option("--commit", "SHA", "take this commit for tags (also OCBUILD_COMMIT)",
           variable="OCBUILD_COMMIT"),
)
SELECT = (
    operand("targets", "TARGET", "see below", repeated=True, offers=WordKind.TARGET),
    option("--exclude", "TARGET", "leave these out", repeated=True, offers=WordKind.TARGET),
    option("--since", "REF", "what @changed compares with"),
)
AT_LEAST_ONE = Limit(lambda jobs: jobs >= 1, "at least one build at a time is needed")
BUILD = (
    option("--jobs", "N", "builds at a time (default: the number of cores)",
           type=int, limit=AT_LEAST_ONE),
    option("--engine", None, "force one engine", choices=ENGINES),
    flag("--keep-going", "build on what does not depend on a failure (default)",
         group="after a failure"),
    flag("--fail-fast", "stop all at the first failure",
         group="after a failure", field="keep_going", const=False),
    flag("--no-reuse", "make ancestors anew even where their key exists"),
    flag("--no-cache", "bypass the engine's layer cache"),
    flag("--allow-dirty", "push although the tree has uncommitted edits"),
    flag("--lock", "write the digests of external bases to build.lock", group="lock"),
    flag("--locked", "take external bases from build.lock alone, or fail", group="lock"),
    flag("--retry-failed", "select what did not succeed in the last run"),
)
REPORT = option("--report", "FILE", "write the result as JSON", type=Path)
PROGRESS = option("--progress", None,
                  "how the run is shown (default: live on a terminal, else plain)",
                  choices=("auto", "live", "plain", "json", "quiet"))
STACKS = (
    operand("stacks", "STACK", "default: all of them", repeated=True, offers=WordKind.STACK),
    *TREE,
    option("--host", "NAME", "only the stacks of this host", offers=WordKind.HOST),
)
POSITIVE = Limit(lambda seconds: not seconds <= 0, "it must be greater than 0")
TIMEOUT = option("--timeout", "SECONDS", "how long one stack may take (default: 600)",
                 type=float, limit=POSITIVE)
NOT_NEGATIVE = Limit(lambda number: number >= 0, "it cannot be less than 0")
INTERVAL = Limit(lambda seconds: 0.2 <= seconds < math.inf, "the least is 0.2 s")  # noqa: PLR2004
ANY_RELEASE = operand("tag", "TAG",
                      "its tag; latest, nightly and the like are understood (default: latest)",
                      required=False, offers=WordKind.RELEASE)
DRY_SWARM = flag("--dry-run", "only show what would be done")
# fmt: on


def address(word: str, what: str) -> Argument:
    meaning = f"where {what}; an address or an interface (default: as build.toml says)"
    return option(word, "ADDRESS", meaning)
