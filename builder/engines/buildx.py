"""The engine ``buildx``: one ``docker buildx build`` per image, bases redirected by name."""

from __future__ import annotations

import csv
import functools
import io
import json
import re
import tempfile
import threading
from collections.abc import Mapping
from pathlib import Path

from builder.core.engine.answers import LocalImage
from builder.core.engine.failure import (
    BuildFailedError,
    describe,
    reported_error,
    reported_line,
    timed_out,
)
from builder.core.engine.solve import PlainText, Progress, Sink, command_of
from builder.core.engine.statuses import Decoder
from builder.core.errors import InterruptedRunError, Location
from builder.core.text import LineSplitter
from builder.docker.daemon import Daemon
from builder.engines import BuildRequest, BuildResult, SecretSource
from builder.engines.host import PROXY_NAMES
from builder.engines.place import line_in_file
from builder.engines.redirect import context_value, familiar
from builder.system.process import ProgramMissingError, run, stream

# The first version that knows --progress=rawjson.
OLDEST = (0, 12)
_VERSION = re.compile(r"v?(\d+)\.(\d+)")
_ENVIRONMENT = {
    # Asking git about the context costs several processes a build; we know the commit ourselves.
    "BUILDX_GIT_INFO": "false",
    "BUILDX_NO_DEFAULT_ATTESTATIONS": "1",
    "BUILDX_METADATA_PROVENANCE": "disabled",
    "DOCKER_CLI_HINTS": "false",
}
# What would choose another builder, or another form of output, behind our back.
_FOREIGN = ("BUILDX_BUILDER", "BUILDKIT_PROGRESS", "BUILDKIT_HOST")


class Buildx:
    """Makes images with BuildKit by way of the docker command."""

    name = "buildx"

    def __init__(self, daemon: Daemon, environ: Mapping[str, str]) -> None:
        self._daemon = daemon
        self._environ = environ
        self._lock = threading.Lock()

    def refusal(self, request: BuildRequest) -> str | None:
        with self._lock:
            missing = self._missing
        if missing is not None:
            return missing
        if "ssh" in request.features and not self._environ.get("SSH_AUTH_SOCK"):
            return "RUN --mount=type=ssh needs a running ssh-agent (SSH_AUTH_SOCK is not set)"
        return None

    def build(self, request: BuildRequest, sink: Sink, cancel: threading.Event) -> BuildResult:
        _require_secrets(request, self._environ)
        progress = Progress(sink)
        decoder = Decoder()

        def on_stderr(data: bytes) -> None:
            for status in decoder.feed(data):
                progress.follow(status)

        with tempfile.TemporaryDirectory(prefix="ocbuild-") as folder:
            metadata = Path(folder) / "metadata.json"
            ended = stream(
                arguments(request, metadata, builder=self._daemon.endpoint.context),
                on_stdout=LineSplitter(lambda line: progress.follow(PlainText(text=line))),
                on_stderr=on_stderr,
                cancel=cancel,
                timeout=request.timeout,
                env=self._child_environ(request),
            )
            for status in decoder.end():
                progress.follow(status)
            progress.end()
            if ended.cancelled:
                raise InterruptedRunError(f"{request.image}: interrupted")
            if ended.timed_out:
                raise _timed_out(request, progress)
            if ended.returncode != 0:
                raise _failure(request, progress, ended.returncode)
            image = self._made(request, metadata)
        return BuildResult(image_id=image.id, size=image.size, cached=progress.cached)

    @functools.cached_property
    def _missing(self) -> str | None:
        """Why there is no usable buildx; asked once, for it costs a process."""
        try:
            asked = run(["docker", "buildx", "version"], env=self._child_environ(), timeout=60)
        except ProgramMissingError:
            return "the docker command is not installed"
        if asked.returncode != 0:
            return "the docker command has no buildx plugin (install docker-buildx)"
        found = _VERSION.search(asked.text.partition(" ")[2])
        if found is None:
            return None
        version = (int(found[1]), int(found[2]))
        if version < OLDEST:
            wanted = ".".join(map(str, OLDEST))
            return f"buildx {'.'.join(map(str, version))} is too old, {wanted} is needed"
        return None

    def _child_environ(self, request: BuildRequest | None = None) -> dict[str, str]:
        environ = self._daemon.endpoint.child_environ(self._environ)
        for name in _FOREIGN:
            environ.pop(name, None)
        environ.update(_ENVIRONMENT)
        if request is not None:
            environ.update({k: v for k, v in request.args.items() if k in PROXY_NAMES})
        return environ

    def _made(self, request: BuildRequest, metadata: Path) -> LocalImage:
        """The image as the engine knows it; a containerd store goes by the manifest's digest."""
        said = json.loads(metadata.read_bytes())
        keys = ("containerimage.config.digest", "containerimage.digest")
        for name in (*(said[key] for key in keys if key in said), *request.tags):
            image = self._daemon.inspect(name)
            if image is not None:
                return image
        raise BuildFailedError(
            "buildx reported success, but the engine does not have the image",
            where=Location(request.dockerfile_label),
            hint="`docker buildx ls` shows whether the builder of the current context is of the "
            "driver docker",
        )


def arguments(request: BuildRequest, metadata: Path, *, builder: str) -> list[str]:
    """The command line; no value in it is a secret."""
    argv = ["docker", "buildx", "build", "--builder", builder, "--load", "--provenance=false"]
    argv += ["--progress=rawjson", "--metadata-file", str(metadata)]
    argv += ["--file", str(request.dockerfile)]
    for tag in request.tags:
        argv += ["--tag", tag]
    for name, value in sorted(request.labels.items()):
        argv += ["--label", f"{name}={value}"]
    for name, value in sorted(request.args.items()):
        # A proxy's address may hold a password, so it goes by way of the environment.
        argv += ["--build-arg", name if name in PROXY_NAMES else f"{name}={value}"]
    for name, value in sorted(request.contexts.items()):
        argv += ["--build-context", f"{familiar(name)}={context_value(value)}"]
    for name, source in sorted(request.secrets.items()):
        argv += ["--secret", _secret(name, source)]
    if "ssh" in request.features:
        argv += ["--ssh", "default"]
    if request.target:
        argv += ["--target", request.target]
    if request.platform:
        argv += ["--platform", request.platform]
    if request.no_cache:
        argv += ["--no-cache"]
    return [*argv, "--", str(request.context)]


def _secret(name: str, source: SecretSource) -> str:
    """``id=…,src=…`` in CSV, which buildx reads, so that a path may hold a comma."""
    origin = f"env={source.env}" if source.file is None else f"src={source.file}"
    line = io.StringIO()
    csv.writer(line, lineterminator="").writerow([f"id={name}", origin])
    return line.getvalue()


def _require_secrets(request: BuildRequest, environ: Mapping[str, str]) -> None:
    """Refuse a build that lacks a secret; buildx would give it an empty one."""
    where = Location(request.dockerfile_label)
    for name, source in request.secrets.items():
        if source.file is not None and not source.file.is_file():
            raise BuildFailedError(
                f'the secret "{name}": there is no file {source.file}', where=where
            )
        if source.env is not None and source.env not in environ:
            raise BuildFailedError(
                f'the secret "{name}": the environment variable {source.env} is not set',
                where=where,
            )


def _timed_out(request: BuildRequest, progress: Progress) -> BuildFailedError:
    vertex = progress.failed
    return timed_out(
        request.timeout or 0,
        label=request.dockerfile_label,
        log=progress.tail(vertex) if vertex else (),
    )


def _failure(request: BuildRequest, progress: Progress, returncode: int) -> BuildFailedError:
    said = progress.plain
    vertex = progress.failed
    command = command_of(vertex.name) if vertex else None
    error = reported_error(said) or (vertex.error if vertex else "")
    line = reported_line(said)
    if line is None and command is not None:
        line = line_in_file(command, request.dockerfile, request.dockerfile_label)
    return describe(
        error or said or f"docker buildx build returned {returncode} and said nothing",
        label=request.dockerfile_label,
        line=line,
        command=command,
        log=progress.tail(vertex) if vertex else (),
    )
