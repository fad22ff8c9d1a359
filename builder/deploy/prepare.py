"""What has to be so before anything is started: stacks rendered, networks made, images pulled."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any

from msgspec import Struct, field

from builder.core import codec
from builder.core.deploy.networks import expected, variables as network_variables
from builder.core.deploy.projects import pinned, stand_in_variables, variables
from builder.core.deploy.rollout import PullOrder, ancestors
from builder.core.deploy.stack import (
    Compose,
    images_by_host,
    mentioning,
    present_references,
    with_images,
)
from builder.core.engine.messages import Transfer, pull_failure
from builder.core.errors import DeployError, InterruptedRunError
from builder.core.reference import HUB, Reference
from builder.core.release import Release
from builder.core.settings.config import registry_host
from builder.core.text import counted, size
from builder.deploy.compose import DockerCommand
from builder.deploy.networks import Networks, Swarm
from builder.deploy.project import DeployedProject
from builder.docker.settings import DockerLogins, Login, registry_auth
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


# Stacks that are rendered side by side: each is a program that waits little and works little.
_AT_ONCE = 8

Rendered = dict[str, Any]


def _unpinned(_stack: str, compose: Rendered) -> Rendered:
    return compose


class Preparation(Struct, frozen=True, kw_only=True):
    """Prepares stacks of a project; ``env_files`` are those of addresses and secrets."""

    project: DeployedProject
    environ: Mapping[str, str]
    env_files: Mapping[str, Path | None]
    say: Callable[[str], None]
    dry_run: bool = False

    def stacks(self, release: Release) -> dict[str, Rendered]:
        """The chosen stacks, complete and pinned; the networks that they expect exist then.

        Raises:
            DeployError: an image is not in the release, a network has other settings, and the like.

        """
        host = registry_host(self.project.config)

        def pin(name: str, compose: Rendered) -> Rendered:
            return with_images(compose, pinned(name, compose, release, host))

        return self.render(self.project.stacks, variables(release, host), pin)

    def render(
        self,
        stacks: Iterable[str],
        values: Mapping[str, str],
        pin: Callable[[str, Rendered], Rendered] = _unpinned,
    ) -> dict[str, Rendered]:
        """Fill in the variables of ``values``, and those that tell of the stacks' networks.

        ``pin`` makes the final form, or raises, before any network is made.

        Raises:
            DeployError: a compose file cannot be rendered, or a network cannot be made.

        """
        chosen = {name: self.project.stacks[name] for name in stacks}
        unset: dict[str, list[str]] = {}
        rendered = self._render(chosen, values, pin, unset)
        mtus = network_variables(self._networks(rendered))
        # A network has to be asked for what is told of it, and its name is in the compose file.
        texts = {name: stack.file.read_text("utf-8") for name, stack in chosen.items()}
        again = self._render(mentioning(texts, mtus), {**values, **mtus}, pin, unset)
        for line in dict.fromkeys(line for lines in unset.values() for line in lines):
            self.say(line)
        return rendered | again

    def pull(self, release: Release, stacks: Mapping[str, Compose]) -> None:
        """Have each host pull what of the release it will run and does not have yet.

        Raises:
            DeployError: one cannot.

        """
        project, host = self.project, registry_host(self.project.config)
        hosts = {name: stack.host for name, stack in project.stacks.items()}
        with project.registry(self.environ) as registry:
            Puller(
                registry=registry,
                logins=DockerLogins(self.environ).login,
                known=tuple(str(one.reference(host)) for one in release.images.values()),
                cancel=project.cancel,
                clock=project.clock,
                say=self.say,
            ).pull(
                [
                    (project.engines[name], images)
                    for name, images in images_by_host(stacks, hosts).items()
                ]
            )

    def complete_records(self) -> None:
        """Complete what was deployed from another machine, as far as the files here describe it."""
        config = self.project.config
        # Images are pinned by what was deployed.
        values = stand_in_variables(registry_host(config), config.project.namespace, config.groups)
        for name in self.project.stacks:
            if not self.project.records.history(name).is_complete:
                self.project.records.completed(name, self.render([name], values)[name])

    def _render(
        self,
        stacks: Iterable[str],
        values: Mapping[str, str],
        pin: Callable[[str, Rendered], Rendered],
        unset: dict[str, list[str]],
    ) -> dict[str, Rendered]:
        """Render and pin; ``unset`` is given the notes on variables of each stack."""
        project = self.project

        def render(name: str) -> Rendered:
            unset[name] = []
            compose = project.engine(name).render(
                project.stacks[name].file,
                self.env_files[name],
                values,
                project=project.compose_project(name),
                say=unset[name].append,
            )
            return pin(name, compose)

        names = list(stacks)
        return dict(zip(names, in_threads(render, names, at_once=_AT_ONCE), strict=True))

    def _networks(self, rendered: Mapping[str, Compose]) -> dict[str, int]:
        """Make the networks of all stacks; returns the MTU of each, by its key in compose files."""
        settings, project = self.project.config.deploy, self.project
        # The one that manages a swarm need not be one on which something is started now.
        engines = {
            name: project.engines.get(name)
            or DockerCommand(host=host, environ=self.environ, cancel=project.cancel)
            for name, host in settings.hosts.items()
        }
        return Networks(
            engines=engines,
            swarm=Swarm({name: (engine.host, engine.api) for name, engine in engines.items()}),
            several=len({stack.host for stack in settings.stacks.values()}) > 1,
            dry_run=self.dry_run,
            say=self.say,
        ).provide(
            network
            for name, compose in rendered.items()
            for network in expected(project.stacks[name].host, compose, settings.networks)
        )
