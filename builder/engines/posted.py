"""The engines that post a context to the Docker Engine: engine-api (BuildKit), and classic.

https://docs.docker.com/reference/api/engine/ calls the request ImageBuild. A builder without named
contexts is lent names: one that the engine does not know is given to the image that it shall mean,
and taken away when the last build that needs it has ended. A name that means something else already
is never touched.
"""

from __future__ import annotations

import contextlib
import functools
import io
import os
import tarfile
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO

from msgspec import Struct

from builder.core.assemble import Refused
from builder.core.bases import familiar, image_of
from builder.core.context import IGNORE_FILE, ContextFile
from builder.core.context.tree import ContextTree, Narrow
from builder.core.dockerfile.model import FEATURES
from builder.core.engine.answers import LocalImage
from builder.core.engine.failure import BuildFailedError, refused, timed_out
from builder.core.engine.messages import BuildKitMessages, ClassicMessages, Message
from builder.core.engine.place import failure_of, lacking
from builder.core.engine.request import build_parameters
from builder.core.engine.statuses import Progress, Sink, command_of
from builder.core.errors import BuildError, ContextError, InterruptedRunError, Location
from builder.docker.daemon import Daemon
from builder.engines import BuildRequest, BuildResult, renamed_dockerfile
from builder.tree.discover import open_context


def post(
    daemon: Daemon,
    names: BorrowedNames,
    request: BuildRequest,
    *,
    version: str,
    always: Iterable[str],
    cancel: threading.Event,
    on_message: Callable[[Message], None],
) -> None:
    """Send the context and hand on every message of the builder.

    Raises:
        BuildFailedError: if the engine takes none of it, e.g. for a Dockerfile that it cannot
            parse, or is not done in time.
        InterruptedRunError: once ``cancel`` is set.

    """
    label = request.dockerfile_label
    params = build_parameters(request, version=version, dockerfile=dockerfile_name(request))
    with names.held(request.contexts), packed(request, cancel, always=always) as archive:
        try:
            with daemon.build(params, archive, cancel=cancel, timeout=request.timeout) as received:
                for message in received:
                    on_message(message)
        except TimeoutError:
            raise timed_out(request.timeout or 0, label=label) from None
        except BuildFailedError:
            raise
        except BuildError as error:
            raise refused(error, label) from error


def result(
    daemon: Daemon, request: BuildRequest, image_id: str | None, *, cached: bool
) -> BuildResult:
    """The image that was made."""
    image = daemon.inspect(image_id) if image_id else None
    if image is None:
        raise BuildFailedError(
            "the engine broke off without an image and without an error",
            where=Location(request.dockerfile_label),
            transient=True,
        )
    return BuildResult(image_id=image.id, size=image.size, cached=cached)


def awkward(request: BuildRequest) -> str | None:
    """What neither way of POST /build can do, whatever the builder behind it."""
    if request.platform and "," in request.platform:
        return f"it makes images for one platform at a time, not for {request.platform}"
    for name, value in sorted(request.contexts.items()):
        if image_of(value) is None:
            return f'it cannot take "{name}" from {value}: only images can stand for images'
    if not request.dockerfile.resolve().is_relative_to(request.context.resolve()):
        return "the Dockerfile lies outside its build context"
    return None


# -- the context as an archive -----------------------------------------------------------------


def dockerfile_name(request: BuildRequest) -> str:
    """The path of the Dockerfile in the archive."""
    return request.dockerfile.resolve().relative_to(request.context.resolve()).as_posix()


def hidden(request: BuildRequest) -> str | None:
    """The Dockerfile or the ignore file, if the ignore file leaves it out of the context."""
    tree = open_context(request.context, request.dockerfile)
    for name in (dockerfile_name(request), IGNORE_FILE):
        if tree.entry(name) is not None and tree.ignore.excludes(name):
            return name
    return None


def packed(
    request: BuildRequest, cancel: threading.Event, *, always: Iterable[str] = ()
) -> IO[bytes]:
    """A temporary file, at its start, with all that the ignore rules leave in the context.

    ``always`` are paths that go in whatever the rules say. Owners become root, as BuildKit and the
    docker command make them.

    Raises:
        InputError: if the context cannot be read.
        InterruptedRunError: once ``cancel`` is set.

    """
    tree = open_context(request.context, request.dockerfile)
    files = {file.path: file for file in tree.below("", Narrow(base=""))}
    for name in always:
        entry = tree.entry(name)
        if entry is not None:
            files.setdefault(name, entry)
    with contextlib.ExitStack() as undo:
        archive = undo.enter_context(tempfile.TemporaryFile(prefix="ocbuild-context-"))
        with tarfile.open(
            fileobj=archive, mode="w", format=tarfile.PAX_FORMAT, errors="surrogateescape"
        ) as tar:
            own = renamed_dockerfile(request)
            for path in sorted(files):
                if cancel.is_set():
                    raise InterruptedRunError(f"{request.image}: interrupted")
                if own is not None and path == dockerfile_name(request):
                    member = tarfile.TarInfo(path)
                    member.size = len(own)
                    tar.addfile(member, io.BytesIO(own))
                else:
                    _add(tar, tree, files[path], request.context)
        archive.seek(0)
        undo.pop_all()
    return archive


def _add(tar: tarfile.TarFile, tree: ContextTree, file: ContextFile, context: Path) -> None:
    path = context / file.path
    entry = tarfile.TarInfo(file.path)
    try:
        status = path.lstat()
        entry.mode = status.st_mode & 0o7777
        entry.mtime = int(status.st_mtime)
        if file.kind == "dir":
            entry.type = tarfile.DIRTYPE
            tar.addfile(entry)
        elif file.kind == "link":
            entry.type = tarfile.SYMTYPE
            entry.linkname = str(path.readlink())
            tar.addfile(entry)
        else:
            with path.open("rb") as stream:
                # The engine's own walk lists such a file and then finds nothing in it.
                empty = tree.ignore.empties(file.path)
                entry.size = 0 if empty else os.fstat(stream.fileno()).st_size
                tar.addfile(entry, stream)
    except OSError as error:
        raise ContextError(f"cannot read {path}: {error.strerror or error}") from error


# -- borrowed names ----------------------------------------------------------------------------


class _Loan(Struct):
    image_id: str
    users: int = 0


class BorrowedNames:
    """The loans of one process in one engine."""

    def __init__(self, daemon: Daemon) -> None:
        self._daemon = daemon
        self._lock = threading.Lock()
        self._loans: dict[str, _Loan] = {}

    def refusal(self, contexts: Mapping[str, str]) -> str | None:
        """Why these names cannot be made to mean these images.

        None also where that is not known yet, because an image still has to be pulled.
        """
        for name, reference in _images(contexts):
            wanted = self._daemon.inspect(reference)
            if wanted is None:
                continue
            with self._lock:
                obstacle = self._obstacle(name, wanted)
            if obstacle is not None:
                return obstacle
        return None

    @contextmanager
    def held(self, contexts: Mapping[str, str]) -> Iterator[None]:
        """As long as this lasts, each name means its image.

        Raises:
            BuildError: if a name means another image, or an image cannot be had.

        """
        with ExitStack() as loans:
            for name, reference in _images(contexts):
                wanted = self._fetched(reference)
                if self._take(name, reference, wanted):
                    loans.callback(self._give_back, name)
            yield

    def _fetched(self, reference: str) -> LocalImage:
        image = self._daemon.inspect(reference)
        if image is None:
            self._daemon.pull(reference)
            image = self._daemon.inspect(reference)
        if image is None:
            raise BuildError(f"{reference} was pulled, but the engine does not have it")
        return image

    def _take(self, name: str, reference: str, wanted: LocalImage) -> bool:
        """Whether there is something to give back."""
        with self._lock:
            obstacle = self._obstacle(name, wanted)
            if obstacle is not None:
                raise BuildError(obstacle)
            if name not in self._loans:
                if self._daemon.inspect(name) is not None:
                    return False
                self._daemon.tag(reference, name)
                self._loans[name] = _Loan(wanted.id)
            self._loans[name].users += 1
            return True

    def _give_back(self, name: str) -> None:
        with self._lock:
            loan = self._loans[name]
            loan.users -= 1
            if loan.users:
                return
            del self._loans[name]
            current = self._daemon.inspect(name)
            # Somebody else may have moved it in the meantime; then it is theirs.
            if current is not None and current.id == loan.image_id:
                self._daemon.untag(name)

    def _obstacle(self, name: str, wanted: LocalImage) -> str | None:
        current = self._daemon.inspect(name)
        if current is None:
            if "@" in name:
                return f'"{name}" cannot be made to mean {wanted.id}: a digest cannot be given away'
            return None
        if current.id == wanted.id:
            return None
        return f'"{name}" means another image in the engine than it shall mean here'


def _images(contexts: Mapping[str, str]) -> list[tuple[str, str]]:
    """Names in the form that two spellings share, with the image that each shall mean."""
    found = {familiar(name): image_of(value) for name, value in contexts.items()}
    return sorted((name, image) for name, image in found.items() if image is not None)


_LACKS = ("secret", "ssh", "syntax", "ignore-file")
# Docker 28, the first where BuildKit finds the posted context with the containerd store, too
# (moby issue 47717).
_MENDED_API = (1, 48)


class BuildKitApi:
    """Makes images with the engine's own BuildKit."""

    name = "engine-api"

    def __init__(self, daemon: Daemon, names: BorrowedNames) -> None:
        self._daemon = daemon
        self._names = names
        self._lock = threading.Lock()

    def refusal(self, request: BuildRequest) -> str | None:
        with self._lock:
            unusable = self._unusable
        reason = unusable or lacking(request, _LACKS) or awkward(request)
        if reason is not None:
            return reason
        name = hidden(request)
        if name is not None:
            return f"the ignore file leaves out {name}, which it would show to COPY all the same"
        return self._names.refusal(request.contexts)

    @functools.cached_property
    def _unusable(self) -> str | None:
        """Why this Docker Engine cannot be asked at all; found out once."""
        info = self._daemon.info()
        if info.os != "linux":
            return f"the Docker Engine runs on {info.os}, where it has no BuildKit"
        version = tuple(int(part) for part in info.api_version.split(".") if part.isdigit())
        if info.containerd_store and version < _MENDED_API:
            return "the Docker Engine has the containerd image store and is older than 28"
        return None

    def build(self, request: BuildRequest, sink: Sink, cancel: threading.Event) -> BuildResult:
        if reason := self.refusal(request):
            raise Refused(reason)
        follower = BuildKitMessages(Progress(sink))
        post(
            self._daemon,
            self._names,
            request,
            version="2",
            always=(),
            cancel=cancel,
            on_message=follower,
        )
        follower.progress.end()
        if follower.error is not None:
            progress = follower.progress
            vertex = progress.failed
            raise failure_of(
                request,
                follower.error,
                command=command_of(vertex.name) if vertex else None,
                log=progress.tail(vertex) if vertex else (),
            )
        return result(self._daemon, request, follower.image_id, cached=follower.progress.cached)


# COPY --from of an image is all that it has of what we call features.
_CLASSIC_LACKS = frozenset(FEATURES) - {"copy-from-image"}


class Classic:
    """Makes images without BuildKit."""

    name = "classic"

    def __init__(self, daemon: Daemon, names: BorrowedNames) -> None:
        self._daemon = daemon
        self._names = names

    def refusal(self, request: BuildRequest) -> str | None:
        # It builds stages that the target does not need, and passes over heredocs in silence.
        return (
            lacking(request, _CLASSIC_LACKS, every_stage=True)
            or awkward(request)
            or self._names.refusal(request.contexts)
        )

    def build(self, request: BuildRequest, sink: Sink, cancel: threading.Event) -> BuildResult:
        if reason := self.refusal(request):
            raise Refused(reason)
        follower = ClassicMessages(sink)
        post(
            self._daemon,
            self._names,
            request,
            version="1",
            # The engine reads both, and then takes out itself what the ignore file leaves out.
            always=(dockerfile_name(request), IGNORE_FILE),
            cancel=cancel,
            on_message=follower,
        )
        follower.end()
        if follower.error is not None:
            raise failure_of(
                request,
                follower.error,
                step=follower.step,
                command=follower.command,
                log=follower.tail,
            )
        return result(self._daemon, request, follower.image_id, cached=follower.cached)
