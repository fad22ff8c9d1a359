"""One publisher at a time in a namespace: a claim in the registry, waited for and given back.

A registry has no locks. A claim is a tag beside the releases: who finds it free writes its own name
there, and has it if the name still stands there a moment later. Two who write at the very same time
see one name between them. Whoever is slower than that moment is found out by the digests of the
release tags, which are compared before and after they are set.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable

from builder.clock import Clock
from builder.errors import InterruptedRunError, PublishError
from builder.reference import Reference
from builder.registry.artifacts import EMPTY, EMPTY_TYPE, artifact
from builder.registry.client import Registry
from builder.registry.faults import NotFoundError
from builder.registry.releases import CLAIM

HOLDER = "org.ocbuild.claim.holder"
TYPE = "application/vnd.ocbuild.claim.v1+json"
# Long enough for the writes of two who found it free at the same time to have come to an end.
_SETTLE_SECONDS = 0.2
_POLL_SECONDS = 0.5
# To set tags takes seconds; a claim that stands unchanged for so long was left by a run that died.
ABANDONED_SECONDS = 60.0


class Claim:
    """The claim of one run on one namespace; ``repository`` is that of its releases.

    ``holder`` is how others see this run, and has to be its name alone.
    """

    def __init__(
        self,
        registry: Registry,
        repository: Reference,
        holder: str,
        *,
        clock: Clock,
        cancel: threading.Event,
    ) -> None:
        self._registry = registry
        self._repository = repository
        self._me = holder
        self._clock = clock
        self._cancel = cancel
        self._held = False

    def take(self, tell: Callable[[str], None]) -> None:
        """Wait until nobody else publishes here, and have the claim; ``tell`` says who does.

        Raises:
            InterruptedRunError: cancelled while waiting.
            RegistryError: the registry cannot be asked or written to.

        """
        seen, since = "", self._clock.monotonic()
        while True:
            other = self._holder()
            if other != seen:
                seen, since = other, self._clock.monotonic()
                if other:
                    tell(f"waiting: {other} is publishing to {self._repository} just now")
            if other and self._clock.monotonic() - since < ABANDONED_SECONDS:
                self._wait(_POLL_SECONDS)
                continue
            self._write(self._me)
            self._wait(_SETTLE_SECONDS)
            if self._holder() == self._me:
                self._held = True
                return

    def check(self) -> None:
        """Make sure that it is still ours.

        Raises:
            PublishError: another run has it.

        """
        other = self._holder()
        if other != self._me:
            raise PublishError(
                f"{other or 'another run'} has taken over publishing to {self._repository}",
                hint="run it again: what was pushed is found by its key",
            )

    def free(self) -> None:
        """Give it back, if it was ever taken and is still ours."""
        if self._held and self._holder() == self._me:
            self._write("")
        self._held = False

    def _wait(self, seconds: float) -> None:
        if self._clock.wait(self._cancel, seconds):
            raise InterruptedRunError("interrupted while waiting to publish")

    @property
    def _place(self) -> Reference:
        return self._repository.with_tag(CLAIM)

    def _holder(self) -> str:
        try:
            manifest = self._registry.manifest(self._place)
        except NotFoundError:
            return ""
        annotations = json.loads(manifest.body).get("annotations") or {}
        return str(annotations.get(HOLDER, ""))

    def _write(self, holder: str) -> None:
        manifest, parts = artifact(TYPE, EMPTY, {HOLDER: holder}, media_type=EMPTY_TYPE)
        self._registry.blobs.put(self._repository, parts[0])
        self._registry.put(self._place, manifest)
