"""What the Docker Engine tells while it builds, pushes and pulls: its streams of messages."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Mapping
from enum import Enum
from typing import Any, TypeVar

from builder.core.engine.failure import is_transient
from builder.core.engine.statuses import (
    TAIL_LINES,
    BadTraceError,
    CurrentStep,
    OutputLine,
    PlainText,
    Progress,
    Sink,
    cleaned,
    trace_statuses,
)
from builder.core.errors import BuildError, PublishError
from builder.core.reference import HUB, Reference
from builder.core.text import LineSplitter

Message = dict[str, Any]
"""One JSON object of the stream."""
_CLASSIC_STEP = re.compile(r"Step (?P<number>\d+)/(?P<count>\d+) : (?P<command>.*)", re.DOTALL)
_USING_CACHE = " ---> Using cache"


class BuildKitMessages:
    """Reads the messages of one build by the BuildKit of a Docker Engine."""

    def __init__(self, progress: Progress) -> None:
        self.progress = progress
        self.image_id: str | None = None
        self.error: str | None = None

    def __call__(self, message: Message) -> None:
        kind, aux = message.get("id"), message.get("aux")
        if kind == "moby.buildkit.trace" and isinstance(aux, str):
            self._trace(aux)
        elif kind == "moby.image.id" and isinstance(aux, dict):
            self.image_id = aux.get("ID")
        if "error" in message:
            detail = message.get("errorDetail") or {}
            self.error = str(detail.get("message") or message["error"])

    def _trace(self, aux: str) -> None:
        try:
            for status in trace_statuses(aux):
                self.progress.follow(status)
        except BadTraceError as error:
            # The build itself does not depend on what we understand of its progress.
            self.progress.follow(PlainText(text=f"unreadable progress: {error}"))


class ClassicMessages:
    """Reads the messages of one build without BuildKit, which are text with marks in it."""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._lines = LineSplitter(self._line)
        self._tail: deque[str] = deque(maxlen=TAIL_LINES)
        self._steps = 0
        self._hits = 0
        self.step = 0
        self.command: str | None = None
        self.image_id: str | None = None
        self.error: str | None = None

    def __call__(self, message: Message) -> None:
        text = message.get("stream")
        if isinstance(text, str):
            self._lines(text.encode())
        aux = message.get("aux")
        if isinstance(aux, dict):
            self.image_id = aux.get("ID", self.image_id)
        if "error" in message:
            detail = message.get("errorDetail") or {}
            self.error = str(detail.get("message") or message["error"])

    def end(self) -> None:
        self._lines.end()

    @property
    def cached(self) -> bool:
        return self._hits == self._steps

    @property
    def tail(self) -> tuple[str, ...]:
        return tuple(self._tail)

    def _line(self, line: str) -> None:
        line = cleaned(line)
        found = _CLASSIC_STEP.fullmatch(line)
        if found:
            self.step = int(found["number"])
            self.command = found["command"].strip()
            self._steps += not self.command.startswith("FROM ")
            self._tail.clear()
            self._sink(CurrentStep(text=f"[{found['number']}/{found['count']}] {self.command}"))
            return
        self._hits += line == _USING_CACHE
        if not line.startswith(" ---> "):
            self._tail.append(line)
        self._sink(OutputLine(text=line))


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
