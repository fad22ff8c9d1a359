"""Makes an image by the first engine that can; and what of this machine a build may need."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from msgspec.structs import replace

from builder.core.assemble import Refused
from builder.core.context import OWN_FOLDER, ContextFile, ReadContext
from builder.core.dockerfile.parse import parse
from builder.core.engine.failure import BuildFailedError
from builder.core.engine.statuses import OutputLine, Sink
from builder.core.errors import (
    BuildError,
    ConfigError,
    EngineUnavailableError,
    InputError,
    Location,
    did_you_mean,
)
from builder.core.globs import printable
from builder.core.schedule import RetryPolicy
from builder.docker.daemon import Daemon
from builder.engines import BuildRequest, BuildResult, Engine
from builder.engines.assembler import Assembler
from builder.engines.bases import folder_digest
from builder.engines.buildx import Buildx
from builder.engines.layer_cache import LayerIndexes, ManifestCache
from builder.engines.posted import BorrowedNames, BuildKitApi, Classic
from builder.registry.client import Registry
from builder.system.files import state_dir
from builder.system.resources import SystemClock
from builder.tree.discover import file_digest, read_context


class Engines:
    """The Maker of a run: what needs no engine is made in process, the rest by ``others``.

    ``forced`` names the only one to ask; ``others`` are asked for when the first image needs them.
    """

    def __init__(
        self, own: Engine, others: Callable[[], Sequence[Engine]], forced: str | None
    ) -> None:
        self._own = own
        self._find_others = others
        self._others: Sequence[Engine] | None = None
        self._forced = forced
        self._lock = threading.Lock()

    def make(self, request: BuildRequest, sink: Sink, cancel: threading.Event) -> BuildResult:
        return make(request, self._candidates(request), sink, cancel, forced=self._forced)

    def _candidates(self, request: BuildRequest) -> Iterator[Engine]:
        if request.in_process or self._forced:
            yield self._own
        with self._lock:
            if self._others is None:
                self._others = self._find_others()
        yield from self._others


def make(
    request: BuildRequest,
    engines: Iterable[Engine],
    sink: Sink,
    cancel: threading.Event,
    *,
    forced: str | None = None,
) -> BuildResult:
    """The image by the first engine in order that does not refuse; ``forced`` is the only one.

    Raises:
        EngineUnavailableError: if there is no engine, or none of that name.
        BuildError: if every engine that may be asked refuses; the message has the reasons.

    """
    where = Location(request.dockerfile_label)
    if forced is not None:
        engine = _named(forced, tuple(engines))
        try:
            return _build(engine, request, sink, cancel)
        except Refused as refused:
            raise BuildError(
                f"the engine {forced} cannot make {request.image}: {refused.reason}",
                where=where,
                hint="without --engine, the first engine that can is taken",
            ) from refused
    reasons: list[str] = []
    for engine in engines:
        try:
            return _build(engine, request, sink, cancel)
        except Refused as refused:
            reasons.append(f"\n  {engine.name}: {refused.reason}")
            sink(OutputLine(text=f"not by {engine.name}: {refused.reason}"))
    if not reasons:
        raise EngineUnavailableError("no engine is there to make images with")
    raise BuildError(f"no engine can make {request.image}:{''.join(reasons)}", where=where)


def _build(
    engine: Engine, request: BuildRequest, sink: Sink, cancel: threading.Event
) -> BuildResult:
    return replace(engine.build(request, sink, cancel), engine=engine.name)


def maker(
    daemon: Daemon,
    environ: Mapping[str, str],
    *,
    platform: str,
    plain_http: frozenset[str],
    forced: str | None,
) -> Engines:
    """The Maker of a run on this machine; the Docker Engine's ways are looked for when needed."""
    own = assembler(daemon, environ, platform=platform, plain_http=plain_http)
    others = [Watched(engine, daemon) for engine in available(daemon, environ)]
    return Engines(own, lambda: others, forced)


class Watched:
    """An engine that reads Dockerfile and context itself, held to what the key was made of.

    Before it begins, all of that has to be the same by content; and as long as it works, nothing
    may be written there, not even the same. Else the image fails, and has no name in the engine.
    """

    def __init__(self, engine: Engine, daemon: Daemon) -> None:
        self._engine = engine
        self._daemon = daemon

    @property
    def name(self) -> str:
        return self._engine.name

    def build(self, request: BuildRequest, sink: Sink, cancel: threading.Event) -> BuildResult:
        before = _stamps(request)
        _require_same(request, with_contents=True)
        result = self._engine.build(request, sink, cancel)
        try:
            _require_same(request, with_contents=False)
            after = _stamps(request)
            for path in sorted(before.keys() | after.keys()):
                if before.get(path) != after.get(path):
                    raise _edited(request, path)
        except BuildFailedError:
            for tag in request.tags:
                self._daemon.untag(tag)
            raise
        return result


def _stamps(request: BuildRequest) -> Mapping[Path, tuple[int, ...]]:
    """What tells of each file that an engine reads whether it has been written to."""
    read = {request.dockerfile}
    files: set[Path] = set()
    if request.read is not None:
        listing = request.read.listing
        read.update([request.context / listing.ignore_file] if listing.ignore_file else [])
        files.update(request.context / file.path for file in listing.files if file.kind != "dir")
    for folder in request.folders:
        found = (path for path in Path(folder).rglob("*") if not path.is_dir())
        files.update(path for path in found if OWN_FOLDER not in path.relative_to(folder).parts)
    stamps: dict[Path, tuple[int, ...]] = {}
    for path in read | files:
        with suppress(OSError):  # what is gone differs from what was there
            status = path.stat() if path in read else path.lstat()
            times = (status.st_mtime_ns, status.st_ctime_ns)
            stamps[path] = (*times, status.st_size, status.st_ino, status.st_dev)
    return stamps


def _require_same(request: BuildRequest, *, with_contents: bool) -> None:
    """Raises BuildFailedError unless everything is as the key was made of it.

    Without contents that is the Dockerfile as it is understood, and names, modes and sizes.
    """
    try:
        if parse(request.dockerfile.read_bytes(), request.dockerfile_label) != request.parsed:
            raise _edited(request, request.dockerfile)
        for folder, digest in request.folders.items():
            if folder_digest(Path(folder)) != digest:
                raise _edited(request, Path(folder))
        if request.read is not None:
            _require_same_context(request, request.read, with_contents=with_contents)
    except OSError as error:
        raise _edited(request, Path(error.filename or request.context)) from error
    except InputError as error:
        raise _failed(request, str(error)) from error


def _require_same_context(request: BuildRequest, read: ReadContext, *, with_contents: bool) -> None:
    listing = read_context(request.context, request.dockerfile, read.reads)
    differing = {*listing.files} ^ {*read.listing.files}
    if differing:
        raise _edited(request, request.context / min(file.path for file in differing))
    for path, content in read.contents.items() if with_contents else ():
        file = ContextFile(path=path, kind="file", mode=0)
        if file_digest(request.context, file) != content:
            raise _edited(request, request.context / path)


def _edited(request: BuildRequest, path: Path) -> BuildFailedError:
    name = printable(os.path.relpath(path, request.context))
    return _failed(request, f'"{name}" has changed since this run read it')


def _failed(request: BuildRequest, what: str) -> BuildFailedError:
    return BuildFailedError(
        f"the build context was edited: {what}",
        where=Location(request.dockerfile_label),
        hint="run the same again",
    )


def available(daemon: Daemon, environ: Mapping[str, str]) -> list[Engine]:
    """All engines that work with this Docker Engine, in the order of preference."""
    names = BorrowedNames(daemon)
    return [Buildx(daemon, environ), BuildKitApi(daemon, names), Classic(daemon, names)]


def assembler(
    daemon: Daemon,
    environ: Mapping[str, str],
    *,
    platform: str,
    plain_http: frozenset[str] = frozenset(),
) -> Assembler:
    """The engine that comes before all others where it can make an image."""
    # An engine can make the image, so nobody waits for a registry that does not answer.
    registry = Registry.connect(
        environ, clock=SystemClock(), retry=RetryPolicy(retries=0), plain_http=plain_http
    )
    indexes = LayerIndexes(registry, state_dir(environ) / "indexes")
    target = Registry.connect(environ, clock=SystemClock(), plain_http=plain_http)
    kept = ManifestCache(state_dir(environ) / "bases")
    return Assembler(daemon, registry, indexes, platform=platform, target=target, kept=kept)


def _named(name: str, engines: Sequence[Engine]) -> Engine:
    for engine in engines:
        if engine.name == name:
            return engine
    known = [engine.name for engine in engines]
    raise EngineUnavailableError(
        f'there is no engine "{name}"',
        hint=did_you_mean(name, known) or f"there are: {', '.join(known)}",
    )


HOST = "host"
# As Go looks for them: https://go.dev/src/crypto/x509/root_linux.go.
_BUNDLES = (
    "/etc/ssl/certs/ca-certificates.crt",  # Debian, Ubuntu, Arch, Gentoo
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",  # Fedora, RHEL
    "/etc/pki/tls/certs/ca-bundle.crt",  # older RHEL
    "/etc/ssl/ca-bundle.pem",  # openSUSE
    "/etc/ssl/cert.pem",  # Alpine, BSD, macOS
)


def ca_bundle(setting: str | None, environ: Mapping[str, str]) -> Path | None:
    """The file of CA certificates that builds get as the secret "ca-bundle".

    ``setting`` is ``ca-bundle`` of build.toml: a file, or "host" for what this machine trusts.

    Raises:
        ConfigError: if there is no such file.

    """
    if not setting:
        return None
    if setting != HOST:
        path = Path(setting).expanduser()
        if not path.is_file():
            raise ConfigError(
                f"ca-bundle: there is no file {path}",
                hint='name a PEM file, or write ca-bundle = "host"',
            )
        return path
    named = [environ[name] for name in ("SSL_CERT_FILE", "CURL_CA_BUNDLE") if environ.get(name)]
    for candidate in (*named, *_BUNDLES):
        if Path(candidate).is_file():
            return Path(candidate)
    raise ConfigError(
        'ca-bundle = "host": this machine has no file of CA certificates in a known place',
        hint="install the package ca-certificates, or set SSL_CERT_FILE",
    )
