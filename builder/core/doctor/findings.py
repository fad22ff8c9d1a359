"""What a check of a machine found: well, to be known, or in the way; and what mends it.

Each function judges facts that were gathered elsewhere; sizes are in bytes.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from enum import Enum

from msgspec import Struct

from builder.core.engine.answers import EngineInfo
from builder.core.errors import (
    BuildError,
    DeployError,
    EngineUnavailableError,
    InputError,
    OcbuildError,
    PublishError,
)
from builder.core.settings.sections import DeploySettings
from builder.core.text import clean, counted, size

# The least version of docker compose: `pull --policy` came with it.
_COMPOSE = (2, 22)
_VERSION = re.compile(r"v?(\d+)\.(\d+)\S*")

# All images of a tree such as ours, unpacked, and what a build adds to them for a while.
_COMFORT = 20 * 2**30
_STATE_COMFORT = 2**30
# Some images of files.
_INODES = 100_000
# Each dnsmasq, libvirtd and udevd takes one; all containers of root share them.
# https://man7.org/linux/man-pages/man7/inotify.7.html
INOTIFY = {"max_user_instances": 128, "max_user_watches": 8192}
_FILES = 4096
# Erlang and others make a table of this size when they start.
_TOO_MANY_FILES = 16 * 2**20

# The exit codes of failures, what comes first in a run first: who has no engine need not yet care
# for what cannot be deployed.
_ORDER = (
    InputError.exit_code,
    EngineUnavailableError.exit_code,
    BuildError.exit_code,
    PublishError.exit_code,
    DeployError.exit_code,
)


class Level(Enum):
    """``WARNING``: what is wanted works, but not all that may be wanted one day."""

    OK = "ok"
    WARNING = "warning"
    FAILURE = "failure"


class Finding(Struct, frozen=True, kw_only=True):
    """``exit_code`` is the contract's for what cannot be done because of a failure, else 0."""

    area: str
    level: Level
    fact: str
    remedy: str = ""
    exit_code: int = 0

    def as_json(self) -> dict[str, object]:
        return {
            "area": self.area,
            "level": self.level.value,
            "fact": self.fact,
            "remedy": self.remedy or None,
        }


def ok(area: str, fact: str) -> Finding:
    return Finding(area=area, level=Level.OK, fact=fact)


def warning(area: str, fact: str, remedy: str = "") -> Finding:
    return Finding(area=area, level=Level.WARNING, fact=fact, remedy=remedy)


def failure(area: str, fact: str, remedy: str, kind: type[OcbuildError]) -> Finding:
    """What stands in the way of what ends with an error of ``kind``."""
    return Finding(
        area=area, level=Level.FAILURE, fact=fact, remedy=remedy, exit_code=kind.exit_code
    )


def of_error(area: str, error: OcbuildError) -> Finding:
    return failure(area, error.message, error.hint or "", type(error))


def exit_code(findings: Iterable[Finding]) -> int:
    """The exit code of the failure by which a run would end first; 0 without any."""
    codes = {one.exit_code for one in findings if one.level is Level.FAILURE}
    return next((code for code in _ORDER if code in codes), max(codes, default=0))


# --- words ---------------------------------------------------------------------------------------


def finding_lines(finding: Finding) -> list[str]:
    """The finding as it is shown: a line or more for the fact, and for the remedy."""
    level = "FAILURE" if finding.level is Level.FAILURE else finding.level.value
    fact, *more = finding.fact.splitlines() or [""]
    lines = [f"{finding.area:9} {level:8} {clean(fact)}", *(f"{'':19}{clean(one)}" for one in more)]
    if finding.remedy:
        first, *rest = finding.remedy.splitlines()
        lines += [f"{'':19}-> {clean(first)}", *(f"{'':22}{clean(one)}" for one in rest)]
    return lines


def count(findings: Iterable[Finding], level: Level) -> int:
    """How many findings are of this level."""
    return sum(finding.level is level for finding in findings)


def sum_line(findings: Iterable[Finding]) -> str:
    """How many findings are to be minded."""
    findings = tuple(findings)
    failures, warnings = (count(findings, level) for level in (Level.FAILURE, Level.WARNING))
    return f"{counted(failures, 'failure')}, {counted(warnings, 'warning')}"


def as_document(findings: Iterable[Finding]) -> dict[str, object]:
    """All of it as JSON is told it."""
    findings = tuple(findings)
    return {
        "findings": [finding.as_json() for finding in findings],
        "failures": count(findings, Level.FAILURE),
        "warnings": count(findings, Level.WARNING),
        "exit_code": exit_code(findings),
    }


# --- the machine ---------------------------------------------------------------------------------


class Space(Struct, frozen=True, kw_only=True):
    """The room on a file system; ``inodes`` are free ones, None where it counts none."""

    free: int
    inodes: int | None = None


def of_disk(space: Space, where: str, what: str, *, least: int) -> Finding:
    """The room where the engine keeps its images; without ``least`` bytes no build begins."""
    fact = f"{size(space.free)} free for {what} ({where})"
    if space.free < least:
        return failure("disk", fact, "`docker system df`, and `ocbuild prune --yes`", BuildError)
    if space.inodes is not None and space.inodes < _INODES:
        few = f"only {space.inodes} inodes free for {what} ({where})"
        return warning("disk", few, "`ocbuild prune --yes`")
    if space.free < _COMFORT:
        return warning("disk", fact, f"a tree of many images needs more like {size(_COMFORT)}")
    return ok("disk", fact)


def of_state(folder: str, space: Space, *, exists: bool) -> Finding:
    """The state folder, which can be written or made."""
    fact = f"{folder} can be {'written' if exists else 'made'}, {size(space.free)} free"
    if space.free < _STATE_COMFORT:
        return warning("state", fact, "the embedded registry keeps its images there")
    return ok("state", fact)


def of_blocked_state(folder: str, why: str) -> Finding:
    """The state folder that can be neither written nor made."""
    return failure(
        "state",
        f"nothing can be written to {folder}: {why}",
        "make it writable, or name another one by OCBUILD_STATE",
        EngineUnavailableError,
    )


def of_memory(available: int | None, *, least: int) -> Iterator[Finding]:
    """The memory for new processes, None if unknown; without ``least`` bytes no build begins."""
    if available is None:
        return
    fact = f"{size(available)} available"
    if available < least:
        yield warning("memory", fact, "builds wait until there is more: end something")
    else:
        yield ok("memory", fact)


def of_inotify(name: str, value: int) -> Finding:
    """What the kernel gives to all containers together."""
    least = INOTIFY[name]
    if value >= least:
        return ok("limits", f"fs.inotify.{name} is {value}")
    return warning(
        "limits",
        f"fs.inotify.{name} is {value}: containers of one host share that",
        f"sysctl -w fs.inotify.{name}={least * 4}",
    )


def of_open_files(limits: str) -> Iterator[Finding]:
    """The open files of a container, which inherits the limit of the engine; /proc/PID/limits.

    https://man7.org/linux/man-pages/man5/proc_pid_limits.5.html
    """
    for line in limits.splitlines():
        match = re.match(r"Max open files\s+(unlimited|\d+)\s", line)
        if match is None:
            continue
        soft = match[1]
        value = _TOO_MANY_FILES * 2 if soft == "unlimited" else int(soft)
        fact = f"containers may open {soft} files"
        remedy = '"default-ulimits" in /etc/docker/daemon.json, for nofile: 1048576'
        if value < _FILES or value > _TOO_MANY_FILES:
            yield warning("limits", fact, remedy)
        else:
            yield ok("limits", fact)


# --- the engine, and what it will need -----------------------------------------------------------


def of_engine(info: EngineInfo, url: str, *, plain: str) -> Iterator[Finding]:
    """The Docker Engine at ``url``; ``plain`` is a registry elsewhere that has no TLS, else ""."""
    store = "containerd's store" if info.containerd_store else "the engine's own store"
    yield ok(
        "engine",
        f"Docker Engine {info.version} at {url}, API {info.api_version}, "
        f"{info.os}/{info.architecture}, {info.storage_driver}, {store}",
    )
    if info.os != "linux":
        yield failure(
            "engine",
            f"the engine makes images for {info.os}",
            "an engine for linux",
            EngineUnavailableError,
        )
    if info.storage_driver == "vfs":
        yield warning(
            "engine",
            "the storage driver vfs copies every layer whole: slow, and large",
            'overlay2, as "storage-driver" in /etc/docker/daemon.json',
        )
    if plain and plain not in info.insecure_registries:
        yield failure(
            "engine",
            f"the registry {plain} has no TLS, and the engine does not know that it may do without",
            f'"insecure-registries": ["{plain}"] in /etc/docker/daemon.json',
            EngineUnavailableError,
        )


def of_buildx(version: str | None) -> Finding:
    """The version of docker buildx, None where it is missing."""
    if version is not None:
        return ok("engine", f"docker buildx {version}")
    return warning(
        "engine",
        "docker buildx is missing: images are made by the Engine API's BuildKit instead",
        "install the package docker-buildx, or docker-buildx-plugin",
    )


def of_compose(version: str | None) -> Finding:
    """The version of docker compose, None where it is missing."""
    least = ".".join(map(str, _COMPOSE))
    remedy = f"install docker-compose-plugin {least} or newer: stacks are brought up by it"
    if version is None:
        return failure("engine", "docker compose is missing", remedy, DeployError)
    match = _VERSION.search(version)
    if match and (int(match[1]), int(match[2])) < _COMPOSE:
        return failure("engine", f"docker compose {version} is too old", remedy, DeployError)
    return ok("engine", f"docker compose {version}")


def version_in(text: str) -> str:
    """The version that a plugin of docker tells, or all that it says."""
    match = _VERSION.search(text)
    return match[0] if match else text.strip()


def of_unobtainable_base(text: str, why: str) -> Finding:
    """An external base that can be neither pulled, for the reason ``why``, nor made."""
    return failure(
        "bases",
        f"{text} cannot be had: {why}",
        f'a `mirror` or, for Debian, a `bootstrap` in [bases."{text}"] of build.toml',
        BuildError,
    )


def of_base_made_here(text: str, why: str, tool: str | None) -> Finding:
    """A base that cannot be pulled; ``tool`` is what mmdebstrap says of itself, None if missing."""
    if tool is None:
        return failure(
            "bases",
            f"{text} cannot be pulled ({why}), nor made: mmdebstrap is missing",
            "`apt-get install mmdebstrap`",
            BuildError,
        )
    return ok("bases", f"{text} cannot be pulled, and is made by {tool} instead")


# --- the hosts that are deployed to --------------------------------------------------------------


def of_host(
    name: str, version: str, swarm_state: str, overlays: Sequence[str]
) -> Iterator[Finding]:
    """A host that answers; ``overlays`` are networks for which it has to be in a swarm."""
    yield ok("hosts", f'"{name}" answers: Docker Engine {version}')
    if overlays and swarm_state != "active":
        yield failure(
            "hosts",
            f'host "{name}" is in no swarm, and the overlay {overlays[0]} needs one',
            "`ocbuild deploy init`, then `ocbuild deploy join`",
            DeployError,
        )


def of_silent_host(error: OcbuildError) -> Finding:
    """A host that does not answer: whatever it is, nothing can be deployed there."""
    return failure("hosts", error.message, error.hint or "", DeployError)


def swarm_overlays(settings: DeploySettings) -> list[str]:
    """The overlays of build.toml for which hosts have to be in a swarm."""
    overlays = [one.name for one in settings.networks.values() if one.driver == "overlay"]
    return overlays if len(settings.hosts) > 1 else []
