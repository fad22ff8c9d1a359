"""Asks the engine for external bases: each once per run, pulled or made where it is not there.

builder.core.bases has the order of the places, and the values that come out.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Protocol

from msgspec import Struct, field
from msgspec.structs import replace

from builder.core.bases import (
    FOLDER,
    IMAGE_SCHEME,
    Pin,
    Resolution,
    ResolvedBase,
    as_address,
    as_image,
    as_local_image,
    as_promise,
    bootstrap_reference,
    locked_to_another,
    not_in_engine,
    reference_behind,
    unobtainable,
)
from builder.core.context import OWN_FOLDER
from builder.core.engine.answers import LocalImage
from builder.core.errors import BuildError, InterruptedRunError, OcbuildError
from builder.core.reference import Reference
from builder.core.settings.config import Config
from builder.core.settings.sections import BaseSettings, BootstrapSettings
from builder.system.process import in_threads

PULLS = 4


class Images(Protocol):
    """What of the engine is needed here."""

    def inspect(self, reference: str) -> LocalImage | None: ...

    def pull(self, reference: str, *, cancel: threading.Event) -> None: ...


class BaseProviders(Struct, frozen=True, kw_only=True):
    """How a base that is not there can be had; ``tell`` says what is done for it."""

    images: Images
    bootstrap: Callable[[Reference, BootstrapSettings, threading.Event], None]
    tell: Callable[[str], None]
    cancel: threading.Event
    pins: Mapping[str, Pin] = field(default_factory=dict)


def look_up(
    texts: Iterable[str], config: Config, images: Images, pins: Mapping[str, Pin] | None = None
) -> Resolution:
    """Only what is there already, without touching network or engine: for plans."""

    def look(text: str) -> ResolvedBase:
        if pins and text in pins:
            base = _pinned(text, pins[text], config, images)
        else:
            base = _present(text, config, images)
        if base is None:
            raise not_in_engine(text)
        return base

    return _resolve(texts, look)


def remembered(pins: Mapping[str, Pin], config: Config, images: Images) -> Resolution:
    """Bases as a release has them: those of the engine if they are the same, else promises."""

    def recall(text: str) -> ResolvedBase:
        base = _present(text, config, images)
        if base is not None and (base.digest == pins[text].digest or not base.reference):
            return base  # a folder is what it is today, whatever it was
        return as_promise(text, pins[text].digest)

    return _resolve(pins, recall)


def provide(texts: Iterable[str], config: Config, providers: BaseProviders) -> Resolution:
    """All bases, pulled or made where needed; an error value for each that cannot be had."""

    def get(text: str) -> ResolvedBase:
        if text in providers.pins:
            return _provide_pinned(text, providers.pins[text], config, providers)
        base = _present(text, config, providers.images)
        return _fetch(text, config, providers) if base is None else base

    return _resolve(texts, get)


def provider(
    config: Config, images: Images, tell: Callable[[str], None], cancel: threading.Event
) -> Callable[[frozenset[str], Mapping[str, Pin]], Resolution]:
    """Provides bases for one run, those that are pinned as the pin says.

    It raises InterruptedRunError once ``cancel`` was set.
    """

    def provide_for_run(texts: frozenset[str], pins: Mapping[str, Pin]) -> Resolution:
        providers = BaseProviders(
            images=images, bootstrap=_bootstrap, tell=tell, cancel=cancel, pins=pins
        )
        resolution = provide(texts, config, providers)
        if cancel.is_set():
            raise InterruptedRunError("interrupted before anything was built")
        return resolution

    return provide_for_run


def _bootstrap(base: Reference, settings: BootstrapSettings, cancel: threading.Event) -> None:
    """Make a base with mmdebstrap and give it to the engine."""
    from builder.engines.bootstrap import bootstrap  # noqa: PLC0415 - 10 ms that few runs need

    bootstrap(base, settings, on_line=lambda _line: None, cancel=cancel)


def _resolve(texts: Iterable[str], resolve: Callable[[str], ResolvedBase]) -> Resolution:
    def attempt(text: str) -> ResolvedBase | OcbuildError:
        try:
            return resolve(text)
        except OcbuildError as error:
            return error

    names = sorted(set(texts))
    return dict(zip(names, in_threads(attempt, names, at_once=PULLS), strict=True))


def wanted_reference(text: str, config: Config) -> str:
    """The reference to look for, after [contexts] and the mirror of [bases]."""
    redirect = config.contexts.get(text)
    settings = None if redirect is not None else _settings(text, config)
    return reference_behind(text, redirect, settings.mirror or "" if settings else "")


def _settings(text: str, config: Config) -> BaseSettings | None:
    return config.base(Reference.parse(text))


def _present(text: str, config: Config, images: Images) -> ResolvedBase | None:
    redirect = config.contexts.get(text)
    if redirect is not None and not redirect.startswith(IMAGE_SCHEME):
        return _not_an_image(text, redirect, config.root)
    base = _local(text, wanted_reference(text, config), images)
    settings = _settings(text, config)
    if base is not None or settings is None or settings.bootstrap is None:
        return base
    return _local(text, str(bootstrap_reference(Reference.parse(text))), images)


def _local(text: str, reference: str, images: Images) -> ResolvedBase | None:
    image = images.inspect(reference)
    if image is None:
        return None
    return as_local_image(text, reference, image.id, image.repo_digests)


def _pinned(text: str, pin: Pin, config: Config, images: Images) -> ResolvedBase | None:
    """The base as build.lock has it, if the engine does."""
    if pin.local:
        return _pinned_by_id(text, pin, config, images)
    reference = _pinned_reference(text, pin, config)
    return None if images.inspect(reference) is None else as_image(text, reference, pin.digest)


def _pinned_by_id(text: str, pin: Pin, config: Config, images: Images) -> ResolvedBase:
    base = _present(text, config, images)
    image = images.inspect(base.reference) if base is not None and base.reference else None
    if base is None or image is None or image.id != pin.digest:
        raise locked_to_another(text, pin)
    return replace(base, digest=pin.digest)


def _pinned_reference(text: str, pin: Pin, config: Config) -> str:
    return str(Reference.parse(wanted_reference(text, config)).at(pin.digest))


def _provide_pinned(text: str, pin: Pin, config: Config, providers: BaseProviders) -> ResolvedBase:
    base = _pinned(text, pin, config, providers.images)
    if base is not None:
        return base
    reference = _pinned_reference(text, pin, config)
    providers.tell(f"base {text}: pulling {reference}")
    try:
        providers.images.pull(reference, cancel=providers.cancel)
    except OcbuildError as error:
        # To make another one instead would be what the lock is there to forbid.
        raise unobtainable(text, reference, error) from error
    return as_image(text, reference, pin.digest)


def _fetch(text: str, config: Config, providers: BaseProviders) -> ResolvedBase:
    reference = wanted_reference(text, config)
    settings = _settings(text, config)
    providers.tell(
        f"base {text}: pulling {reference}" if reference != text else f"base {text}: pulling"
    )
    try:
        providers.images.pull(reference, cancel=providers.cancel)
    except OcbuildError as error:
        if settings is None or settings.bootstrap is None or text in config.contexts:
            raise unobtainable(text, reference, error) from error
        providers.tell(f"base {text}: {error.message}; making it with mmdebstrap instead")
        providers.bootstrap(Reference.parse(text), settings.bootstrap, providers.cancel)
        reference = str(bootstrap_reference(Reference.parse(text)))
    base = _local(text, reference, providers.images)
    if base is None:
        raise BuildError(f"{reference} was fetched, but the engine does not have it")
    return base


def _not_an_image(text: str, redirect: str, root: Path) -> ResolvedBase:
    folder = root / redirect
    if "://" in redirect or not folder.is_dir():
        return as_address(text, redirect)
    digest = folder_digest(folder)
    return ResolvedBase(text=text, context=str(folder), reference="", digest=digest)


def folder_digest(folder: Path) -> str:
    """Over paths, modes, links and contents, in sorted order; no times, no owners, and nothing of
    what we keep there ourselves.
    """
    total = hashlib.sha256()
    found = (path for path in folder.rglob("*") if OWN_FOLDER not in path.relative_to(folder).parts)
    for path in sorted(found):
        status = path.lstat()
        total.update(f"{path.relative_to(folder)}\0{status.st_mode:o}\0".encode("utf-8", "replace"))
        if path.is_symlink():
            total.update(str(path.readlink()).encode("utf-8", "replace"))
        elif path.is_file():
            total.update(hashlib.sha256(path.read_bytes()).digest())
    return f"{FOLDER}{total.hexdigest()}"
