"""Pushing and pulling as the engine tells it: how far it is, and what is wrong with a registry."""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import Enum
from typing import Any, TypeVar

from builder.core.engine.failure import is_transient
from builder.core.errors import BuildError, PublishError
from builder.core.reference import HUB, Reference


class Fault(str, Enum):
    """What a registry or the way to it failed with; UNTAGGED: the engine has no such name."""

    DENIED = "denied"
    MISSING = "missing"
    INSECURE = "insecure"
    PASSING = "passing"
    UNTAGGED = "untagged"
    UNREACHABLE = "unreachable"
    OTHER = "other"


class PushFailedError(PublishError):
    """An image could not be pushed, or a registry not be asked; ``fault`` says of what kind."""

    fault = Fault.OTHER


class PullFailedError(BuildError):
    """An image could not be pulled; ``fault`` says of what kind."""

    fault = Fault.OTHER


_Failure = TypeVar("_Failure", PushFailedError, PullFailedError)
_DIGEST = re.compile(r"digest: (sha256:[0-9a-f]{64})")
_FAULTS = (
    (Fault.UNTAGGED, r"does not exist locally|No such image|tag does not exist"),
    (
        Fault.INSECURE,
        (
            r"HTTP response to HTTPS|first record does not look like a TLS|x509:"
            r"|certificate signed by unknown"
        ),
    ),
    (
        Fault.DENIED,
        (
            r"\bdenied\b|unauthorized|no basic auth credentials|authentication required"
            r"|insufficient_scope|\b401\b|\b403 Forbidden"
        ),
    ),
    (
        Fault.MISSING,
        (
            r"manifest unknown|name unknown|manifest for \S+ not found|does not exist"
            r"|\bnot found\b"
        ),
    ),
    (Fault.UNREACHABLE, r"no such host|connection refused"),
)


def fault_of(text: str) -> Fault:
    """The kind of fault that an engine's error text tells of."""
    for fault, pattern in _FAULTS:
        if re.search(pattern, text, re.IGNORECASE):
            return fault
    if is_transient(text):
        return Fault.PASSING
    return Fault.UNREACHABLE if "dial tcp" in text else Fault.OTHER


def push_failure(text: str, doing: str, reference: Reference) -> PushFailedError:
    """The error for a push, or another question to a registry, that the engine gave up with."""
    return _failure(PushFailedError, text, doing, reference)


def pull_failure(text: str, doing: str, reference: Reference) -> PullFailedError:
    """The error for a pull that the engine gave up with."""
    return _failure(PullFailedError, text, doing, reference)


def _failure(kind: type[_Failure], text: str, doing: str, reference: Reference) -> _Failure:
    fault = fault_of(text)
    error = kind(
        f"{doing}: {text.strip().rstrip(':')}",
        hint=_hint(fault, reference),
        transient=fault is Fault.PASSING,
    )
    error.fault = fault
    return error


def _hint(fault: Fault, reference: Reference) -> str | None:
    host = reference.registry or HUB
    if fault is Fault.DENIED:
        login = "docker login" if host == HUB else f"docker login {host}"
        return f"log in with `{login}`, and check that you may use {reference.repository}"
    if fault is Fault.INSECURE:
        return (
            f'add "{host}" to insecure-registries in the engine\'s daemon.json if it speaks plain '
            f"HTTP, or put its CA into /etc/docker/certs.d/{host}/ca.crt"
        )
    if fault is Fault.UNREACHABLE:
        return f"does {host} run, and can the engine's host reach it?"
    if fault is Fault.MISSING:
        return f"check the name: there is no {reference} that you can see"
    return None


class Transfer:
    """Adds up the progress messages of a push or pull over all layers.

    The engine counts bytes before compression, and counts none for a layer that the registry has
    already or can mount from another repository.
    """

    def __init__(self) -> None:
        self._layers: dict[str, tuple[int, int]] = {}
        self.digest: str | None = None
        self.error: str | None = None

    def feed(self, message: Mapping[str, Any]) -> None:
        if "error" in message:
            detail = message.get("errorDetail") or {}
            self.error = str(detail.get("message") or message["error"])
        aux = message.get("aux") or {}
        self.digest = aux.get("Digest", self.digest)
        status = str(message.get("status", ""))
        if self.digest is None and (found := _DIGEST.search(status)):
            self.digest = found[1]
        layer = message.get("id")
        if isinstance(layer, str):
            self._feed_layer(layer, status, message.get("progressDetail") or {})

    @property
    def current(self) -> int:
        return sum(current for current, _ in self._layers.values())

    @property
    def total(self) -> int:
        return sum(total for _, total in self._layers.values())

    def _feed_layer(self, layer: str, status: str, detail: Mapping[str, Any]) -> None:
        before = self._layers.get(layer, (0, 0))
        if status in ("Pushing", "Downloading"):
            current = int(detail.get("current") or 0)
            total = max(int(detail.get("total") or 0), current, before[1])
            self._layers[layer] = (current, total)
        elif status in ("Pushed", "Download complete", "Pull complete"):
            self._layers[layer] = (before[1], before[1])
