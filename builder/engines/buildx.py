"""The engine ``buildx``: one ``docker buildx build`` per image, bases redirected by name."""

from __future__ import annotations

import functools
import os
import shutil
import tempfile
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from builder.core.assemble import Refused
from builder.core.codec import MalformedError, decode
from builder.core.context import IGNORE_FILE, OWN_FOLDER
from builder.core.engine.answers import PROXY_NAMES, LocalImage
from builder.core.engine.failure import (
    BuildFailedError,
    reported_error,
    timed_out,
)
from builder.core.engine.place import failure_of
from builder.core.engine.request import buildx_arguments, unusable_buildx
from builder.core.engine.statuses import PlainText, Progress, RawJsonDecoder, Sink, command_of
from builder.core.errors import InterruptedRunError, Location
from builder.core.text import LineSplitter
from builder.docker.daemon import Daemon
from builder.engines import BuildRequest, BuildResult, renamed_dockerfile
from builder.system.process import ProgramMissingError, run, stream
from builder.tree.discover import open_context

_ENVIRONMENT = {
    # Asking git about the context costs several processes a build; we know the commit ourselves.
    "BUILDX_GIT_INFO": "false",
    "BUILDX_NO_DEFAULT_ATTESTATIONS": "1",
    "BUILDX_METADATA_PROVENANCE": "disabled",
    "DOCKER_CLI_HINTS": "false",
}


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
        if reason := self.refusal(request):
            raise Refused(reason)
        _require_secrets(request, self._environ)
        progress = Progress(sink)
        decoder = RawJsonDecoder()

        def on_stderr(data: bytes) -> None:
            for status in decoder.feed(data):
                progress.follow(status)

        with tempfile.TemporaryDirectory(prefix="ocbuild-") as folder:
            metadata = Path(folder) / "metadata.json"
            request = _with_own_dockerfile(_with_copies(request, Path(folder)), Path(folder))
            ended = stream(
                buildx_arguments(
                    request,
                    metadata,
                    builder=self._daemon.endpoint.context,
                    proxies=self._daemon.config_proxies,
                ),
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
                raise timed_out(
                    request.timeout or 0,
                    label=request.dockerfile_label,
                    log=progress.tail(progress.failed) if progress.failed else (),
                )
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
        return unusable_buildx(asked.text)

    def _child_environ(self, request: BuildRequest | None = None) -> dict[str, str]:
        environ = self._daemon.endpoint.child_environ(self._environ)
        environ.update(_ENVIRONMENT)
        if request is not None:
            asked = {source.env for source in request.secrets.values() if source.env}
            environ.update({name: self._environ[name] for name in asked})
            given = request.args.items() - self._daemon.config_proxies.items()
            environ.update({name: value for name, value in given if name in PROXY_NAMES})
        return environ

    def _made(self, request: BuildRequest, metadata: Path) -> LocalImage:
        """The image as the engine knows it; a containerd store goes by the manifest's digest."""
        try:
            said = decode(metadata.read_bytes(), dict[str, Any], what="the metadata of buildx")
        except MalformedError:
            said = {}
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


def _failure(request: BuildRequest, progress: Progress, returncode: int) -> BuildFailedError:
    said = progress.plain
    vertex = progress.failed
    error = reported_error(said) or (vertex.error if vertex else "")
    return failure_of(
        request,
        error or said or f"docker buildx build returned {returncode} and said nothing",
        said=said,
        command=command_of(vertex.name) if vertex else None,
        log=progress.tail(vertex) if vertex else (),
    )


def _with_own_dockerfile(request: BuildRequest, folder: Path) -> BuildRequest:
    """A request for the Dockerfile with other names, or without a look at what ocbuild keeps in the
    context; its own ignore file lies beside it.
    """
    text, ours = renamed_dockerfile(request), _has_own_folder(request.context)
    if text is None and not ours:
        return request
    file = folder / request.dockerfile.name
    file.write_bytes(request.dockerfile.read_bytes() if text is None else text)
    ignore = request.dockerfile.with_name(f"{request.dockerfile.name}{IGNORE_FILE}")
    if ours:
        found = open_context(request.context, request.dockerfile).ignore_file
        rules = (request.context / found).read_bytes() if found is not None else b""
        (folder / ignore.name).write_bytes(rules + f"\n**/{OWN_FOLDER}\n".encode())
    elif ignore.is_file():
        shutil.copyfile(ignore, folder / ignore.name)
    return replace(request, dockerfile=file)


def _with_copies(request: BuildRequest, folder: Path) -> BuildRequest:
    """A request in which what ocbuild keeps in a folder that stands for a base is left out."""
    contexts = dict(request.contexts)
    leave_out = shutil.ignore_patterns(OWN_FOLDER)
    for number, (name, value) in enumerate(request.contexts.items()):
        if value in request.folders and _has_own_folder(Path(value)):
            contexts[name] = str(folder / f"context-{number}")
            shutil.copytree(value, contexts[name], symlinks=True, ignore=leave_out)
    return replace(request, contexts=contexts)


def _has_own_folder(context: Path) -> bool:
    return any(OWN_FOLDER in (*names, *files) for _, names, files in os.walk(context))
