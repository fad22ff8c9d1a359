"""The images of a deployment, pulled by each host before anything is started on any of them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait

from msgspec import Struct, field

from builder.core import codec
from builder.core.deploy.rollout import PullOrder, ancestors
from builder.core.deploy.stack import present_references
from builder.core.engine.messages import Transfer, pull_failure
from builder.core.errors import DeployError, InterruptedRunError
from builder.core.reference import HUB, Reference
from builder.core.text import counted, size
from builder.deploy.compose import DockerCommand
from builder.docker.logins import Login, registry_auth
from builder.registry.client import Registry
from builder.system.process import in_threads
from builder.system.resources import Clock

# Images that one host pulls at a time. The engine fetches three layers at once, whoever asks.
AT_ONCE = 4
# Manifests that are read at a time.
_READERS = 8
_NOTE_SECONDS = 10.0


class PulledLayer(Struct, frozen=True, kw_only=True):
    """One layer; ``size`` is in bytes, as it is sent."""

    digest: str
    size: int


Images = Mapping[str, tuple[PulledLayer, ...]]


class Puller(Struct, frozen=True, kw_only=True):
    """What the pulls of all hosts share.

    ``logins`` are those of this machine: hosts keep none. ``known`` are images that may be an
    ancestor of others.
    """

    registry: Registry
    logins: Callable[[str], Login | None]
    known: tuple[str, ...]
    cancel: threading.Event
    clock: Clock
    say: Callable[[str], None]

    def pull(self, wanted: Sequence[tuple[DockerCommand, Iterable[str]]]) -> None:
        """Have every host pull what it does not have, all of them side by side.

        Raises:
            DeployError: one cannot, and so none goes on.
            InterruptedRunError: once ``cancel`` is set.

        """
        stop = _Either(self.cancel)
        with ThreadPoolExecutor(max_workers=max(1, len(wanted))) as pool:
            hosts = [pool.submit(self._host, *pulls, stop) for pulls in wanted]
            # Whoever fails makes the others stop, and they then say no more than that.
            failures = [error for host in hosts if (error := host.exception()) is not None]
        for error in sorted(failures, key=lambda error: isinstance(error, InterruptedRunError)):
            raise error

    def _host(
        self, engine: DockerCommand, references: Iterable[str], stop: threading.Event
    ) -> None:
        try:
            missing = sorted(set(references) - _present(engine))
            if missing:
                pulls = _HostPulls(puller=self, engine=engine, stop=stop)
                pulls.pull(self._with_ancestors(missing))
        except BaseException:
            stop.set()
            raise

    def _with_ancestors(self, missing: list[str]) -> Images:
        wanted = self._layers(missing)
        if len(missing) == 1:
            return wanted
        others = self._layers([name for name in self.known if name not in wanted])
        lower = ancestors(_digests(wanted), _digests(others))
        return {**wanted, **{name: others[name] for name in lower}}

    def _layers(self, references: list[str]) -> dict[str, tuple[PulledLayer, ...]]:
        def layers(text: str) -> tuple[PulledLayer, ...]:
            manifest = self.registry.manifest(Reference.parse(text))
            return tuple(
                PulledLayer(digest=layer.digest, size=layer.size) for layer in manifest.layers
            )

        return dict(zip(references, in_threads(layers, references, at_once=_READERS), strict=True))


class _HostPulls(Struct, kw_only=True):
    """The pulls of one host, and how far they are; ``noted`` is when that was said last."""

    puller: Puller
    engine: DockerCommand
    stop: threading.Event
    transfers: dict[str, Transfer] = field(default_factory=dict)
    images: int = 0
    finished: int = 0
    total: int = 0
    noted: float = 0.0
    noting: threading.Lock = field(default_factory=threading.Lock)

    def pull(self, images: Images) -> None:
        order = PullOrder(_digests(images))
        layers = {layer.digest: layer.size for image in images.values() for layer in image}
        begun = self.puller.clock.monotonic()
        self.images, self.total, self.noted = len(images), sum(layers.values()), begun
        self._say(f"{counted(len(images), 'image')} to pull, {size(self.total)} at most")
        with ThreadPoolExecutor(max_workers=AT_ONCE) as pool:
            running: dict[Future[None], str] = {}
            while order.active:
                while len(running) < AT_ONCE and (name := order.next()) is not None:
                    running[pool.submit(self._one, name)] = name
                done, _ = wait(running, return_when=FIRST_COMPLETED)
                for future in done:
                    name = running.pop(future)
                    if future.exception() is not None:
                        self.stop.set()
                    future.result()
                    self.finished += 1
                    order.done(name)
        seconds = self.puller.clock.monotonic() - begun
        self._say(f"{counted(len(images), 'image')} pulled ({seconds:.1f} s)")

    def _one(self, text: str) -> None:
        reference = Reference.parse(text)
        doing = f'cannot pull {reference} on host "{self.engine.host.name}"'
        transfer = self.transfers[text] = Transfer()
        registry = reference.registry or HUB

        def failed(text: str) -> DeployError:
            failure = pull_failure(text, doing, reference)
            return DeployError(failure.message, hint=failure.hint, transient=failure.transient)

        auth = registry_auth(self.puller.logins(registry), registry)
        with self.engine.api.pull(reference, auth, cancel=self.stop, explain=failed) as messages:
            for message in messages:
                transfer.feed(message)
                self._note()
        if transfer.error is not None:
            raise failed(transfer.error)

    def _note(self) -> None:
        now = self.puller.clock.monotonic()
        with self.noting:
            if now - self.noted < _NOTE_SECONDS:
                return
            self.noted = now
        done = sum(transfer.current for transfer in list(self.transfers.values()))
        self._say(f"{self.finished} of {self.images} images, {size(done)} of {size(self.total)}")

    def _say(self, text: str) -> None:
        self.puller.say(f"host {self.engine.host.name}: {text}")


class _Either(threading.Event):
    """Set by itself, or with another."""

    def __init__(self, other: threading.Event) -> None:
        super().__init__()
        self._other = other

    def is_set(self) -> bool:
        return super().is_set() or self._other.is_set()


def _present(engine: DockerCommand) -> set[str]:
    """The images that a host has, by every digest reference under which it knows them.

    Raises:
        DeployError: it cannot be asked, or says something odd.

    """
    document = engine.api.get("/images/json", "list the images of")
    try:
        return present_references(document)
    except codec.MalformedError as error:
        raise DeployError(f'host "{engine.host.name}": {error}') from error


def _digests(images: Images) -> dict[str, list[str]]:
    return {name: [layer.digest for layer in layers] for name, layers in images.items()}
