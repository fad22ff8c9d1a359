"""The command line as values: every option of every command, typed and with its default."""

from __future__ import annotations

from pathlib import Path

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
