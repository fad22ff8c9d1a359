"""Engines for tests: those that only pretend, and what tests of the real ones need."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

from msgspec.structs import replace

from builder.core.assemble import Refused
from builder.core.dockerfile.model import Dockerfile
from builder.core.dockerfile.parse import parse
from builder.core.engine.answers import LocalImage, Pushed
from builder.core.engine.failure import BuildFailedError
from builder.core.engine.messages import PushFailedError, push_failure
from builder.core.engine.statuses import CurrentStep, Output, OutputLine, Sink
from builder.core.errors import (
    BuildError,
    DockerfileError,
    EngineUnavailableError,
    InterruptedRunError,
    Location,
)
from builder.core.reference import Reference
from builder.docker.daemon import Amounts, Daemon
from builder.engines import BuildRequest, BuildResult
from tests.support.registry import require

BUSYBOX = Path("/bin/busybox")
# Of this process alone, for several runs may share one engine.
OURS = str(os.getpid())
BOX = f"ocbuild-test/box:{OURS}"
TEST_LABEL = "ocbuild.test"
_LONG = 30.0


def parsed(text: str) -> Dockerfile:
    """A Dockerfile, or an empty one where it is an engine that shall say what is wrong with it."""
    try:
        return parse(text.encode(), "Dockerfile")
    except DockerfileError:
        return parse(b"FROM scratch\n", "Dockerfile")


class FakeEngine:
    """An engine that makes nothing and writes down what it was asked for.

    ``fails`` images fail for good; ``transient`` says how often an image fails with a fault that
    passes before it succeeds; ``takes`` images do not end before ``release`` lets them; ``refuses``
    maps images to a reason. All waiting is for events.
    """

    def __init__(
        self,
        name: str = "fake",
        *,
        fails: Iterable[str] = (),
        takes: Iterable[str] = (),
        transient: Mapping[str, int] | None = None,
        refuses: Mapping[str, str] | None = None,
    ) -> None:
        self._name = name
        self._fails = frozenset(fails)
        self._gates = {image: threading.Event() for image in takes}
        self._transient = dict(transient or {})
        self._refuses = dict(refuses or {})
        self._changed = threading.Condition()
        self.requests: list[BuildRequest] = []
        self.started: list[str] = []
        self.finished: list[str] = []
        self.most_at_once = 0

    @property
    def name(self) -> str:
        return self._name

    def build(self, request: BuildRequest, sink: Sink, cancel: threading.Event) -> BuildResult:
        image = request.image
        if image in self._refuses:
            raise Refused(self._refuses[image])
        with self._changed:
            self.requests.append(request)
            self.started.append(image)
            running = len(self.started) - len(self.finished)
            self.most_at_once = max(self.most_at_once, running)
            self._changed.notify_all()
        try:
            return self._build(image, sink, cancel, request.dockerfile_label)
        finally:
            with self._changed:
                self.finished.append(image)
                self._changed.notify_all()

    def release(self, image: str) -> None:
        """Let an image of ``takes`` come to its end."""
        self._gates[image].set()

    def wait_for_start(self, *images: str) -> None:
        """Block until all these have been started."""
        with self._changed:
            ok = self._changed.wait_for(lambda: set(images) <= set(self.started), _LONG)
        assert ok, f"only {self.started} were started, not {images}"

    def _build(self, image: str, sink: Sink, cancel: threading.Event, label: str) -> BuildResult:
        sink(CurrentStep(text=f"[1/1] RUN make {image}"))
        sink(OutputLine(text=f"making {image}"))
        if image in self._gates:
            self._wait(self._gates[image], cancel)
        if cancel.is_set():
            raise InterruptedRunError(f"{image}: interrupted")
        with self._changed:
            passing = self._transient.get(image, 0)
            self._transient[image] = passing - 1
        if passing > 0 or image in self._fails:
            raise BuildFailedError(
                f"RUN make {image}: failed with exit code 1",
                where=Location(label, 1),
                transient=passing > 0,
                command=f"RUN make {image}",
                status=1,
                log_tail=(f"making {image}",),
            )
        return BuildResult(image_id=f"sha256:{image}", size=len(image))

    @staticmethod
    def _wait(gate: threading.Event, cancel: threading.Event) -> None:
        # Two events cannot be waited for at once, so the second is looked at now and then.
        for _ in range(int(_LONG / 0.01)):
            if gate.wait(0.01) or cancel.is_set():
                return
        raise AssertionError("nobody released the build")


class FakeImages:
    """The images of a Docker Engine by name, and those of registries; they have no content.

    ``others`` is what other users of the engine do: a move before and a move after each push.
    ``fault`` is that of every push. What was pulled and pushed is kept in order.
    """

    def __init__(
        self,
        local: Mapping[str, LocalImage] | None = None,
        remote: Mapping[str, LocalImage] | None = None,
        *,
        others: Iterable[Callable[[FakeImages], None]] = (),
        fault: PushFailedError | None = None,
    ) -> None:
        self.images = {image.id: image for image in (local or {}).values()}
        self.names = {name: image.id for name, image in (local or {}).items()}
        self.remote = dict(remote or {})
        self.pulled: list[str] = []
        self.pushed: list[str] = []
        self._others = iter(others)
        self._fault = fault

    def inspect(self, reference: str) -> LocalImage | None:
        return self.images.get(self.names.get(reference, reference))

    def tag(self, reference: str, target: str) -> None:
        image = self.inspect(reference)
        if image is None:
            raise BuildError(f"cannot tag {reference} as {target}: no such image")
        self.names[target] = image.id

    def untag(self, reference: str) -> None:
        image = self.names.pop(reference, None)
        if image is not None and image not in self.names.values():
            del self.images[image]

    def pull(
        self,
        reference: str,
        progress: Amounts | None = None,
        cancel: threading.Event | None = None,
    ) -> None:
        self.pulled.append(reference)
        if reference not in self.remote:
            raise BuildError(f"cannot pull {reference}: no such host")
        image = self.remote[reference]
        self.images[image.id] = image
        self.names[reference] = image.id

    def push(
        self, reference: str, progress: Amounts, cancel: threading.Event | None = None
    ) -> Pushed:
        next(self._others, _nothing)(self)
        if self._fault is not None:
            raise self._fault
        image = self.inspect(reference)
        if image is None:
            raise push_failure(
                f"tag does not exist: {reference}", "cannot push", Reference.parse(reference)
            )
        self.pushed.append(image.id)
        digest = digest_of(image.id)
        known = self.remote.get(reference)
        self.remote[reference] = replace(
            image, repo_digests=(f"{Reference.parse(reference).repository}@{digest}",)
        )
        next(self._others, _nothing)(self)
        progress(image.size, image.size)
        return Pushed(digest=digest, uploaded=0 if known and known.id == image.id else image.size)


def digest_of(id_: str) -> str:
    """Under which digest registries have an image that was pushed."""
    return f"sha256:{hashlib.sha256(id_.encode()).hexdigest()}"


def _nothing(_images: FakeImages) -> None:
    pass


class Outputs:
    """A sink that keeps what it gets; ``seen`` is set once a line of ``awaited`` came."""

    def __init__(self, awaited: str = "") -> None:
        self._awaited = awaited
        self.seen = threading.Event()
        self.all: list[Output] = []

    def __call__(self, output: Output) -> None:
        self.all.append(output)
        if self._awaited and isinstance(output, OutputLine) and self._awaited in output.text:
            self.seen.set()

    @property
    def lines(self) -> list[str]:
        return [output.text for output in self.all if isinstance(output, OutputLine)]

    @property
    def steps(self) -> list[str]:
        return [output.text for output in self.all if isinstance(output, CurrentStep)]


def connect() -> Daemon:
    """The Docker Engine of this machine; without one the test is skipped (see ``require``)."""
    try:
        return Daemon.connect(os.environ)
    except EngineUnavailableError as error:
        require(None, f"a Docker Engine ({error.message})")
        raise


def docker(*arguments: str, check: bool = True) -> str:
    """Run the docker command; its output."""
    require(shutil.which("docker"), "the docker command")
    done = subprocess.run(
        ["docker", *arguments], check=False, capture_output=True, text=True, timeout=120
    )
    assert not check or done.returncode == 0, done.stderr
    return done.stdout.strip()


@contextlib.contextmanager
def box(folder: Path) -> Iterator[str]:
    """An image with a shell, made of the static busybox of this machine; nothing is pulled."""
    require(BUSYBOX.is_file(), f"{BUSYBOX} (Debian's package busybox-static)")
    shutil.copy(BUSYBOX, folder / "busybox")
    (folder / "Dockerfile").write_text(
        "FROM scratch\n"
        "COPY busybox /bin/busybox\n"
        'RUN ["/bin/busybox", "--install", "-s", "/bin"]\n'
        'RUN ["/bin/busybox", "mkdir", "-p", "/tmp", "/etc", "/root"]\n'
        f"LABEL {TEST_LABEL}={OURS}\n"
        'CMD ["/bin/sh"]\n',
        encoding="utf-8",
    )
    docker("build", "--quiet", "--tag", BOX, str(folder))
    try:
        yield BOX
    finally:
        remove_test_images()


def running(words: str) -> bool:
    """Whether a process of this machine, in a container or not, has these words in its command."""
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            if words in entry.read_bytes().replace(b"\0", b" ").decode("utf-8", "replace"):
                return True
    return False


def soon(condition: Callable[[], bool], *, within: float = 10.0) -> bool:
    """Whether the condition comes true before long."""
    pause = threading.Event()
    for _ in range(int(within / 0.05)):
        if condition():
            return True
        pause.wait(0.05)
    return False


def remove_test_images() -> None:
    """Remove all images with the label of this process's tests, whatever they are called."""
    label = f"label={TEST_LABEL}={OURS}"
    found = docker("images", "--all", "--quiet", "--no-trunc", "--filter", label)
    for image in dict.fromkeys(found.split()):
        docker("rmi", "--force", image, check=False)
