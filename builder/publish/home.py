"""Where releases are kept: the registry and namespace that a command is about, and its shelf."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from msgspec import Struct

from builder.config.load import find_config
from builder.core.errors import ConfigError, PublishError
from builder.core.options import TreeOptions
from builder.core.reference import Reference
from builder.core.release import LATEST, Release
from builder.core.retention import Shelved
from builder.core.settings.config import DEFAULT_ADDRESS, LOCAL, Config, registry_host
from builder.core.text import moment
from builder.publish import Tell
from builder.publish.store import Releases
from builder.registry.client import Registry
from builder.registry.faults import RegistryError, UnreachableError
from builder.system.clock import SystemClock
from builder.system.files import state_dir
from builder.system.threads import each
from builder.tree.read import load_config


class Home(Struct, frozen=True, kw_only=True):
    """One namespace of one registry; ``config`` is None where no build.toml was needed."""

    registry: Registry
    host: str
    namespace: str
    config: Config | None = None

    @property
    def releases(self) -> Releases:
        return Releases(self.registry, host=self.host, namespace=self.namespace)

    @property
    def address(self) -> str:
        return f"{self.host}/{self.namespace}"

    def at(self, path: str) -> Reference:
        """A repository of this registry."""
        return Reference(path=path, registry=self.host)


@contextmanager
def open_home(options: TreeOptions, environ: Mapping[str, str]) -> Iterator[Home]:
    """The registry and namespace of build.toml, or of --registry and --namespace.

    With both options no build.toml is needed: who deploys may have no tree.
    """
    config = _config(options)
    if config is None:
        host = DEFAULT_ADDRESS if options.registry in (None, LOCAL) else str(options.registry)
        namespace, plain = str(options.namespace), frozenset[str]()
    else:
        host, namespace = registry_host(config), config.project.namespace
        plain = frozenset(config.publish.plain_http)
    with Registry.connect(environ, clock=SystemClock(), plain_http=plain) as registry:
        try:
            yield Home(registry=registry, host=host, namespace=namespace, config=config)
        except UnreachableError as error:
            if error.hint is not None and host == DEFAULT_ADDRESS and host in error.message:
                raise PublishError(error.message, hint="ocbuild registry start") from error
            raise


def _config(options: TreeOptions) -> Config | None:
    if options.config is None and options.registry and options.namespace:
        try:
            find_config(Path.cwd(), None)
        except ConfigError:
            Reference.parse(f"{options.namespace}/image")
            return None
    return load_config(options)


def start_registry(config: Config, environ: Mapping[str, str], tell: Tell) -> None:
    """Start the embedded registry, if that is the one to publish to.

    Raises:
        PublishError: it cannot be started.

    """
    if config.project.registry != LOCAL:
        return
    from builder.registry.embedded import EmbeddedRegistry  # noqa: PLC0415 - only for this

    embedded = EmbeddedRegistry(state=state_dir(environ))
    if not embedded.status().running:
        tell(f"starting the embedded registry at {embedded.address}")
        embedded.start()


def choose(home: Home, tag: str | None) -> Release:
    """The release of this tag; without one the latest, or else the newest.

    Raises:
        PublishError: there is none; the hint says what there is.

    """
    releases = home.releases
    found = releases.find(tag or LATEST)
    if found is not None:
        return found
    if not list(releases.tags()):
        raise nothing_yet(home)
    if tag is not None:
        return releases.read(tag)
    shelf, _ = shelve(home)
    if not shelf:
        raise nothing_yet(home)
    return shelf[0].release


def nothing_yet(home: Home) -> PublishError:
    return PublishError(
        f"there is no release in {home.address} yet",
        hint="`ocbuild all --push` publishes one; --registry and --namespace look elsewhere",
    )


def shelve(home: Home) -> tuple[list[Shelved], list[PublishError]]:
    """All releases, newest first, each with all its tags; and what is there and is none."""
    releases = home.releases

    def digest(tag: str) -> str:
        found = home.registry.head(releases.repository.with_tag(tag))
        return "" if found is None else found.digest

    tags = sorted(releases.tags())
    by_digest: dict[str, list[str]] = {}
    for tag, named in zip(tags, each(digest, tags), strict=True):
        # A tag may go between the list and the look.
        if named:
            by_digest.setdefault(named, []).append(tag)

    def read(digest: str) -> Shelved | PublishError | None:
        try:
            found = releases.find(by_digest[digest][0])
        except RegistryError:
            raise
        except PublishError as error:
            return error
        if found is None:
            return None
        return Shelved(release=found, digest=digest, tags=tuple(by_digest[digest]))

    read_ones = each(read, sorted(by_digest))
    shelf = newest_first([one for one in read_ones if isinstance(one, Shelved)])
    return shelf, [one for one in read_ones if isinstance(one, PublishError)]


def newest_first(shelf: Sequence[Shelved]) -> list[Shelved]:
    """By time; of the same second, that one is newer which goes on from the other."""
    previous = {one.release.tag: one.release.previous for one in shelf}

    def generation(tag: str) -> int:
        seen = {tag}
        while (tag := previous.get(tag, "")) and tag not in seen:
            seen.add(tag)
        return len(seen)

    def rank(one: Shelved) -> tuple[float, int, str]:
        return (_sortable(one.release), generation(one.release.tag), one.release.tag)

    return sorted(shelf, key=rank, reverse=True)


def _sortable(release: Release) -> float:
    at = moment(release.created)
    return 0.0 if at is None else at.timestamp()
