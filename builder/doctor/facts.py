"""Facts for the doctor: the Docker Engine and its helpers, the machine, registry and hosts."""

from __future__ import annotations

import contextlib
import fcntl
import gzip
import os
import platform
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path

from msgspec import Struct, field

from builder.core import codec
from builder.core.doctor.findings import (
    INOTIFY,
    Finding,
    Space,
    of_base_made_here,
    of_blocked_state,
    of_buildx,
    of_compose,
    of_disk,
    of_engine,
    of_error,
    of_host,
    of_inotify,
    of_memory,
    of_open_files,
    of_silent_host,
    of_state,
    of_unobtainable_base,
    ok,
    swarm_overlays,
    version_in,
    warning,
)
from builder.core.doctor.kernel import (
    Feature,
    Kernel,
    Support,
    kvm_of_nobody,
    module_name,
    read_config,
    support_of_trial,
)
from builder.core.engine.answers import EngineInfo
from builder.core.errors import DeployError, OcbuildError
from builder.core.reference import Reference
from builder.core.registry_faults import RegistryError, UnreachableError
from builder.core.release import NAME
from builder.core.settings.config import Config
from builder.core.settings.sections import DeploySettings, Host
from builder.core.web import is_loopback
from builder.deploy.compose import DockerCommand
from builder.docker.daemon import Daemon
from builder.engines.bases import look_up, wanted_reference
from builder.registry.client import Registry
from builder.system.process import ProgramMissingError, ProgramTimeoutError, in_threads, run
from builder.system.resources import DISK_FLOOR, MEMORY_FLOOR

# https://docs.kernel.org/virt/kvm/api.html
_KVM_GET_API_VERSION = 0xAE00
_KVM_API_VERSION = 12
_TRIAL_SECONDS = 10.0


def disk(where: Path, what: str) -> Finding:
    """The room where the engine keeps its images."""
    try:
        space = _space(where)
    except OSError as error:
        return warning("disk", f"{what} ({where}) cannot be looked at: {error.strerror}")
    return of_disk(space, str(where), what, least=DISK_FLOOR)


def state(folder: Path) -> Finding:
    """The state folder, tried by a file that is gone at once; it is not made for that."""
    existing = folder
    while not existing.exists():
        existing = existing.parent
    try:
        if existing == folder:
            with tempfile.TemporaryFile(dir=folder):
                pass
        elif not os.access(existing, os.W_OK | os.X_OK):
            raise PermissionError(13, os.strerror(13))
        space = _space(existing)
    except OSError as error:
        return of_blocked_state(str(folder), str(error.strerror))
    return of_state(str(folder), space, exists=existing == folder)


def memory(available: int | None) -> Iterator[Finding]:
    """The memory for builds, in bytes; None where nobody can say."""
    return of_memory(available, least=MEMORY_FLOOR)


def limits(root: Path = Path("/")) -> Iterator[Finding]:
    """What the kernel gives to all containers together, and the engine to each."""
    for name in INOTIFY:
        value = _number(root / "proc/sys/fs/inotify" / name)
        if value is not None:
            yield of_inotify(name, value)
    pid = _number(root / "var/run/docker.pid")
    with contextlib.suppress(OSError):
        yield from of_open_files((root / f"proc/{pid}/limits").read_text())


def _space(where: Path) -> Space:
    status = os.statvfs(where)
    inodes = status.f_favail if status.f_files else None
    return Space(free=status.f_bavail * status.f_frsize, inodes=inodes)


def _number(file: Path) -> int | None:
    try:
        return int(file.read_text())
    except (OSError, ValueError):
        return None


# --- the kernel ----------------------------------------------------------------------------------


def read_kernel(root: Path = Path("/")) -> Kernel:
    """The kernel of this machine, whose files are below ``root``."""
    release = platform.release()
    modules = root / "lib/modules" / release
    return Kernel(
        release=release,
        config=_config(root, release),
        loaded=_loaded(root),
        installed=_installed(modules) if modules.is_dir() else None,
        kvm=_kvm(root),
    )


def interfaces(root: Path = Path("/")) -> frozenset[str]:
    """The network interfaces of this machine."""
    return frozenset(folder.name for folder in (root / "sys/class/net").iterdir())


def tried(feature: Feature) -> Support:
    """Make such an interface in a network of its own, which is gone with the program.

    Only where there are neither a configuration nor modules: nothing can be loaded by it then.
    """
    if not feature.link:
        return Support.UNKNOWN
    kind, *more = feature.link.split()
    words = ["unshare", "--net", "ip", "link", "add", "ocbuild0", "type", kind, *more]
    try:
        done = run(words, timeout=_TRIAL_SECONDS)
    except (ProgramMissingError, ProgramTimeoutError):
        return Support.UNKNOWN
    return support_of_trial(done.returncode, done.complaint())


def _config(root: Path, release: str) -> dict[str, str] | None:
    text = None
    with contextlib.suppress(OSError, EOFError):
        text = gzip.decompress((root / "proc/config.gz").read_bytes()).decode()
    if text is None:
        for file in (root / f"boot/config-{release}", root / f"lib/modules/{release}/config"):
            with contextlib.suppress(OSError):
                text = file.read_text()
                break
    return None if text is None else read_config(text)


def _loaded(root: Path) -> frozenset[str]:
    names: set[str] = set()
    with contextlib.suppress(OSError):
        names |= {line.split()[0] for line in (root / "proc/modules").read_text().splitlines()}
    with contextlib.suppress(OSError):
        names |= {folder.name for folder in (root / "sys/module").iterdir()}
    return frozenset(names)


def _installed(modules: Path) -> frozenset[str]:
    names: set[str] = set()
    for name in ("modules.dep", "modules.builtin"):
        with contextlib.suppress(OSError):
            for line in (modules / name).read_text().splitlines():
                names.add(module_name(line))
    return frozenset(names)


def _kvm(root: Path) -> str:
    """Why guests cannot use KVM, "" if they can: that /dev/kvm is there does not say so."""
    device = root / "dev/kvm"
    if not device.exists():
        return "there is no /dev/kvm"
    try:
        descriptor = os.open(device, os.O_RDWR | os.O_CLOEXEC)
    except OSError as error:
        return f"/dev/kvm cannot be opened: {error.strerror}"
    try:
        version = fcntl.ioctl(descriptor, _KVM_GET_API_VERSION)
    except OSError as error:
        return f"/dev/kvm is none: {error.strerror}"
    finally:
        os.close(descriptor)
    if version != _KVM_API_VERSION:
        return f"/dev/kvm has version {version} of its interface, not {_KVM_API_VERSION}"
    if platform.machine() == "x86_64":
        return kvm_of_nobody(_loaded(root))
    return ""


def registry(
    client: Registry, host: str, namespace: str | None, *, scheme: str, embedded: bool
) -> Iterator[Finding]:
    """The registry: does it answer, does it know us, and may we write to it.

    ``embedded``: it is the one that ocbuild starts by itself; no namespace, nothing to write.
    """
    try:
        client.check(host)
    except UnreachableError as error:
        if not embedded:
            yield of_error("registry", error)
        else:
            yield warning(
                "registry",
                f"no registry runs at {host}",
                "none, for a run with --push starts it; or: ocbuild registry start",
            )
        return
    except OcbuildError as error:
        yield of_error("registry", error)
        return
    yield ok("registry", f"{host} answers, by {scheme}, and accepts our login if it wants one")
    if namespace is None:
        return
    place = Reference(path=f"{namespace}/{NAME}", registry=host)
    try:
        client.blobs.try_to_write(place)
    except RegistryError as error:
        yield of_error("registry", error)
        return
    yield ok("registry", f"we may write to {host}/{namespace}")


class _SwarmState(Struct, frozen=True):
    state: str = field(default="inactive", name="LocalNodeState")


class _HostInfo(Struct, frozen=True):
    """The part of ``docker info`` that is judged."""

    version: str = field(default="?", name="ServerVersion")
    swarm: _SwarmState | None = field(default=None, name="Swarm")


def hosts(settings: DeploySettings, environ: Mapping[str, str]) -> Iterator[Finding]:
    """One finding for each host, and one more for each that an overlay cannot reach."""
    overlays = swarm_overlays(settings)

    def look(host: Host) -> list[Finding]:
        return _host(DockerCommand(host=host, environ=environ), overlays)

    for findings in in_threads(look, settings.hosts.values()):
        yield from findings


def _host(engine: DockerCommand, overlays: list[str]) -> list[Finding]:
    name = engine.host.name
    try:
        engine.reach()
        asked = engine.docker("info", "--format", "{{json .}}")
        info = codec.decode(asked.text, _HostInfo, what="docker info")
    except OcbuildError as error:
        return [of_silent_host(error)]
    except codec.MalformedError:
        return [of_error("hosts", DeployError(f'host "{name}" answers, but not in JSON'))]
    state = info.swarm.state if info.swarm is not None else "inactive"
    return list(of_host(name, info.version, state, overlays))


# How many seconds a program may take to tell its version.
_PATIENCE = 30.0


def engine(environ: Mapping[str, str], *, deploys: bool, plain: str) -> Iterator[Finding]:
    """The engine that builds; ``plain`` is the registry, if it is spoken to without TLS."""
    try:
        with closing(Daemon.connect(environ)) as daemon:
            info = daemon.info()
            local = daemon.endpoint.socket is not None
            url = daemon.endpoint.url
    except OcbuildError as error:
        yield of_error("engine", error)
        return
    yield from of_info(info, url, plain=plain)
    yield from helpers(environ, deploys=deploys)
    if local:
        yield disk(Path(info.root), "the engine's images")


def of_info(info: EngineInfo, url: str, *, plain: str) -> Iterator[Finding]:
    """The engine at ``url``, which knows by itself that the loopback needs no TLS."""
    return of_engine(info, url, plain="" if is_loopback(plain) else plain)


def helpers(environ: Mapping[str, str], *, deploys: bool) -> Iterator[Finding]:
    """The plugins of docker; compose only where something is deployed by it."""
    yield of_buildx(_version(environ, "buildx"))
    if deploys:
        yield of_compose(_version(environ, "compose"))


def _version(environ: Mapping[str, str], plugin: str) -> str | None:
    text = _said(["docker", plugin, "version"], environ)
    return None if text is None else version_in(text)


def _said(words: list[str], environ: Mapping[str, str]) -> str | None:
    """Return what a program prints; None where it is missing, fails or does not end."""
    try:
        done = run(words, env=environ, timeout=_PATIENCE)
    except (ProgramMissingError, ProgramTimeoutError):
        return None
    return None if done.returncode != 0 else done.text


def bases(
    texts: tuple[str, ...], config: Config, environ: Mapping[str, str], registry: Registry
) -> Iterator[Finding]:
    """Whether each external base is there, or can be had."""
    try:
        daemon = Daemon.connect(environ)
    except OcbuildError:
        return  # of which the engine's own finding speaks
    with closing(daemon):
        for text, base in look_up(texts, config, daemon).items():
            if not isinstance(base, OcbuildError):
                yield ok("bases", f"{text} is in the engine")
                continue
            yield _elsewhere(text, config, environ, registry)


def _elsewhere(
    text: str, config: Config, environ: Mapping[str, str], registry: Registry
) -> Finding:
    reference = wanted_reference(text, config)
    why = ""
    try:
        if registry.head(Reference.parse(reference)) is not None:
            return ok("bases", f"{text} can be pulled from {reference}")
        why = f"{reference} does not exist"
    except OcbuildError as error:
        why = error.message
    settings = config.base(Reference.parse(text))
    if settings is not None and settings.bootstrap is not None and text not in config.contexts:
        return made_here(text, why, environ)
    return of_unobtainable_base(text, why)


def made_here(text: str, why: str, environ: Mapping[str, str]) -> Finding:
    """A base that cannot be pulled, for the reason ``why``, and would be made here."""
    try:
        tool = run(["mmdebstrap", "--version"], env=environ, timeout=_PATIENCE).text.strip()
    except (ProgramMissingError, ProgramTimeoutError):
        tool = None
    return of_base_made_here(text, why, tool)
