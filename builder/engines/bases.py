"""External bases: each is found once per run, frozen to what was found, and made where none can be.

The order for ``debian:trixie-slim``: what [contexts] says instead; the mirror of [bases]; what the
engine has; a pull; a bootstrap. A bootstrapped base never takes the Hub's name in the engine.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Protocol

from msgspec import Struct, field
from msgspec.structs import replace

from builder.config.load import BaseSettings, BootstrapSettings, Config
from builder.core.errors import BuildError, OcbuildError
from builder.core.reference import Reference
from builder.docker.daemon import LocalImage
from builder.engines.bootstrapped import bootstrap_reference
from builder.system import threads

IMAGE_SCHEME = "docker-image://"
PULLS = 4


class ResolvedBase(Struct, frozen=True, kw_only=True):
    """What a name stands for in this run.

    ``context`` is what the engine is told to take for the name; ``reference`` the image behind it,
    "" where it is no image. ``digest`` identifies the content: a manifest digest where a registry
    knows the image, else the engine's image id, else a hash of a folder or of the address.
    """

    text: str
    context: str
    reference: str
    digest: str

    @property
    def promised(self) -> bool:
        """Whether only its digest is known: enough for keys, but nothing can be built on it."""
        return not self.context


class Pin(Struct, frozen=True, kw_only=True):
    """What a base has to be: the digest of a manifest, or, if ``local``, the id of an image."""

    digest: str
    local: bool = False

    @property
    def kind(self) -> str:
        return "engine" if self.local else "registry"


class Images(Protocol):
    """What of the engine is needed here."""

    def inspect(self, reference: str) -> LocalImage | None: ...

    def pull(self, reference: str, *, cancel: threading.Event) -> None: ...


class Means(Struct, frozen=True, kw_only=True):
    """How a base that is not there can be had; ``tell`` says what is done for it."""

    images: Images
    bootstrap: Callable[[Reference, BootstrapSettings, threading.Event], None]
    tell: Callable[[str], None]
    cancel: threading.Event
    pins: Mapping[str, Pin] = field(default_factory=dict)


Resolution = Mapping[str, "ResolvedBase | OcbuildError"]


def look_up(
    texts: Iterable[str], config: Config, images: Images, pins: Mapping[str, Pin] | None = None
) -> Resolution:
    """Only what is there already, without touching network or engine: for plans."""

    def one(text: str) -> ResolvedBase:
        if pins and text in pins:
            return _pinned(text, pins[text], config, images) or _missing(text)
        return _present(text, config, images) or _missing(text)

    return _resolve(texts, one)


def remembered(pins: Mapping[str, Pin], config: Config, images: Images) -> Resolution:
    """Bases as a release has them: those of the engine if they are the same, else promises."""

    def one(text: str) -> ResolvedBase:
        found = _present(text, config, images)
        if found is not None and (found.digest == pins[text].digest or not found.reference):
            return found  # a folder is what it is today, whatever it was
        return ResolvedBase(text=text, context="", reference="", digest=pins[text].digest)

    return _resolve(pins, one)


def provide(texts: Iterable[str], config: Config, means: Means) -> Resolution:
    """All bases, pulled or made where needed; an error value for each that cannot be had."""

    def one(text: str) -> ResolvedBase:
        if text in means.pins:
            return _provide_pinned(text, means.pins[text], config, means)
        found = _present(text, config, means.images)
        return _fetch(text, config, means) if found is None else found

    return _resolve(texts, one)


def _resolve(texts: Iterable[str], one: Callable[[str], ResolvedBase]) -> Resolution:
    def attempt(text: str) -> ResolvedBase | OcbuildError:
        try:
            return one(text)
        except OcbuildError as error:
            return error

    wanted = sorted(set(texts))
    return dict(zip(wanted, threads.each(attempt, wanted, at_once=PULLS), strict=True))


def _missing(text: str) -> ResolvedBase:
    raise BuildError(
        f"{text} is not in the engine yet", hint="a build pulls it, or makes it with mmdebstrap"
    )


def wanted_reference(text: str, config: Config) -> str:
    """The reference to look for, after [contexts] and the mirror of [bases]."""
    redirect = config.contexts.get(text)
    if redirect is not None:
        return redirect.removeprefix(IMAGE_SCHEME)
    settings = _settings(text, config)
    return settings.mirror if settings is not None and settings.mirror else text


def _settings(text: str, config: Config) -> BaseSettings | None:
    return config.base(Reference.parse(text))


def _present(text: str, config: Config, images: Images) -> ResolvedBase | None:
    redirect = config.contexts.get(text)
    if redirect is not None and not redirect.startswith(IMAGE_SCHEME):
        return _not_an_image(text, redirect, config.root)
    reference = wanted_reference(text, config)
    found = images.inspect(reference)
    if found is not None:
        return _frozen(text, reference, found)
    settings = _settings(text, config)
    if settings is None or settings.bootstrap is None:
        return None
    made = str(bootstrap_reference(Reference.parse(text)))
    found = images.inspect(made)
    return None if found is None else _frozen(text, made, found)


def _pinned(text: str, pin: Pin, config: Config, images: Images) -> ResolvedBase | None:
    """The base as build.lock has it, if the engine does."""
    if pin.local:
        return _pinned_by_id(text, pin, config, images)
    reference = str(_pinned_reference(text, pin, config))
    if images.inspect(reference) is None:
        return None
    return ResolvedBase(
        text=text, context=IMAGE_SCHEME + reference, reference=reference, digest=pin.digest
    )


def _pinned_by_id(text: str, pin: Pin, config: Config, images: Images) -> ResolvedBase:
    found = _present(text, config, images)
    image = images.inspect(found.reference) if found is not None and found.reference else None
    if found is None or image is None or image.id != pin.digest:
        raise BuildError(
            f"the base {text} is locked to the image {pin.digest}, which this engine does not have",
            hint="no registry knows that image, so each machine makes its own: remove the line"
            " from build.lock, or give the base a `mirror` and lock that",
        )
    return replace(found, digest=pin.digest)


def _pinned_reference(text: str, pin: Pin, config: Config) -> Reference:
    return Reference.parse(wanted_reference(text, config)).at(pin.digest)


def _provide_pinned(text: str, pin: Pin, config: Config, means: Means) -> ResolvedBase:
    found = _pinned(text, pin, config, means.images)
    if found is not None:
        return found
    reference = str(_pinned_reference(text, pin, config))
    means.tell(f"base {text}: pulling {reference}")
    try:
        means.images.pull(reference, cancel=means.cancel)
    except OcbuildError as error:
        # To make another one instead would be what the lock is there to forbid.
        raise _unobtainable(text, reference, error) from error
    return ResolvedBase(
        text=text, context=IMAGE_SCHEME + reference, reference=reference, digest=pin.digest
    )


def _fetch(text: str, config: Config, means: Means) -> ResolvedBase:
    reference = wanted_reference(text, config)
    settings = _settings(text, config)
    means.tell(
        f"base {text}: pulling {reference}" if reference != text else f"base {text}: pulling"
    )
    try:
        means.images.pull(reference, cancel=means.cancel)
    except OcbuildError as error:
        if settings is None or settings.bootstrap is None or text in config.contexts:
            raise _unobtainable(text, reference, error) from error
        means.tell(f"base {text}: {error.message}; making it with mmdebstrap instead")
        means.bootstrap(Reference.parse(text), settings.bootstrap, means.cancel)
        reference = str(bootstrap_reference(Reference.parse(text)))
    found = means.images.inspect(reference)
    if found is None:
        raise BuildError(f"{reference} was fetched, but the engine does not have it")
    return _frozen(text, reference, found)


def _unobtainable(text: str, reference: str, error: OcbuildError) -> BuildError:
    asked = text if reference == text else f"{text} (from {reference})"
    return BuildError(
        f"the base {asked} cannot be pulled: {error.message}",
        hint=f'give [bases."{text}"] a `mirror` or, for Debian, a `bootstrap` in build.toml;'
        " docs/build-toml.md shows both",
        transient=error.transient,
    )


def _frozen(text: str, reference: str, found: LocalImage) -> ResolvedBase:
    """By digest where the engine knows one, so that nobody can move the tag during the run."""
    repository = Reference.parse(reference).repository
    for pinned in found.repo_digests:
        if Reference.parse(pinned).repository == repository:
            digest = pinned.partition("@")[2]
            return ResolvedBase(
                text=text, context=IMAGE_SCHEME + pinned, reference=pinned, digest=digest
            )
    return ResolvedBase(
        text=text, context=IMAGE_SCHEME + reference, reference=reference, digest=found.id
    )


def _not_an_image(text: str, redirect: str, root: Path) -> ResolvedBase:
    folder = root / redirect
    if "://" in redirect or not folder.is_dir():
        digest = "address:" + hashlib.sha256(redirect.encode()).hexdigest()
        return ResolvedBase(text=text, context=redirect, reference="", digest=digest)
    return ResolvedBase(
        text=text, context=str(folder), reference="", digest=f"folder:{_folder_hash(folder)}"
    )


def _folder_hash(folder: Path) -> str:
    """Over paths, modes, links and contents, in sorted order; no times and no owners."""
    total = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        status = path.lstat()
        total.update(f"{path.relative_to(folder)}\0{status.st_mode:o}\0".encode("utf-8", "replace"))
        if path.is_symlink():
            total.update(str(path.readlink()).encode("utf-8", "replace"))
        elif path.is_file():
            total.update(hashlib.sha256(path.read_bytes()).digest())
    return total.hexdigest()
