"""One publisher at a time in a namespace: a claim in the registry, waited for and given back.

A registry has no locks, but a tag can be written and read. Three of them, beside the releases, hold
names of runs and make a lock after Lamport's "A Fast Mutual Exclusion Algorithm" (1987), the one
with a delay: who finds nobody else about has the claim after five requests and no wait, and only
those who come at the very same time wait to see which of them it is. The third tag lets those see
one who was quick, so that their delay has to outlast a few requests, and not all of a publication.

It is a lease: who holds it renews it while it sets tags, by a new text under the third tag, so that
a long publication is not given up for dead. What no lock in a registry can rule out, a run that was
given up and goes on (it was suspended, or a wait was long), is found out by asking once more:
before each moving tag and the release, and before what comes when a part of the lease has passed.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from typing import Protocol

from builder.core.errors import InterruptedRunError, PublishError
from builder.core.reference import Reference
from builder.core.registry_content import EMPTY, EMPTY_TYPE, make_artifact
from builder.core.registry_faults import NotFoundError
from builder.registry.client import Registry
from builder.system.resources import Clock

HOLDER = "org.ocbuild.claim.holder"
TYPE = "application/vnd.ocbuild.claim.v1+json"
# Who has begun to ask, who has the claim or nearly so, and who knows that it has it.
ASKED, CLAIM, HELD = CLAIMS = ("claim-asked", "claim", "claim-held")
# Longer than the few requests of another run that came at the same time.
_DELAY_SECONDS = 2.0
_POLL_SECONDS = 0.5
# What follows a holder's name under the tag HELD once it was renewed; older versions take it for a
# part of the name, and wait as for any that has changed.
_RENEWED = "; renewed "
# So often it is renewed while it lasts.
_RENEWALS = 3
# To set tags takes seconds; a claim that stands unchanged for so long was left by a run that died.
ABANDONED_SECONDS = 60.0

Tell = Callable[[str], None]


class Marks(Protocol):
    """Names that all runs can read and write, each under a tag; "" is nobody's."""

    def read(self, tag: str) -> str: ...

    def write(self, tag: str, name: str) -> None: ...


class Claim:
    """The claim of one run on one namespace.

    ``holder`` is how others see this run, and has to be its name alone; ``place`` is what they are
    told that it publishes to. After ``lease`` seconds in which nothing changed it is given up.
    """

    def __init__(
        self,
        marks: Marks,
        holder: str,
        *,
        place: str,
        clock: Clock,
        cancel: threading.Event,
        lease: float = ABANDONED_SECONDS,
    ) -> None:
        self._marks = marks
        self._me = holder
        self._place = place
        self._clock = clock
        self._cancel = cancel
        self._lease = lease
        self._held = False
        self._renewals = 0
        self._since = (0.0, 0.0)
        # Several images of a run may ask for it at once.
        self._lock = threading.Lock()

    def take(self, tell: Tell) -> None:
        """Wait until nobody else publishes here, and have the claim; ``tell`` says who does.

        Raises:
            InterruptedRunError: cancelled while waiting.
            RegistryError: the registry cannot be asked or written to.

        """
        with self._lock:
            if not self._held:
                self._take(tell)

    def _take(self, tell: Tell) -> None:
        dead = ""
        while True:
            self._marks.write(ASKED, self._me)
            # Our own name is that of an attempt whose answer was lost.
            if self._marks.read(CLAIM) not in ("", dead, self._me):
                dead = self._until_free(dead, tell)
                continue
            self._marks.write(CLAIM, self._me)
            if self._marks.read(ASKED) == self._me or self._last_of_several(dead, tell):
                self._hold(self._me)
                self._held = True
                return

    def try_out(self) -> None:
        """Make sure that the tags of a claim can be moved, before anything is built for it.

        Raises:
            RegistryError: they cannot.

        """
        is_first = not self._marks.read(ASKED)
        # Whoever takes the claim just now only takes its time over it.
        self._marks.write(ASKED, f"{self._me} looked")
        if is_first:
            self._marks.write(ASKED, "")

    def keep(self) -> None:
        """Make sure of it, and renew it, once a part of the lease has passed; else ask nobody.

        Raises:
            PublishError: another run has it.

        """
        if self._age() >= self._lease / _RENEWALS:
            self.check()

    def check(self) -> None:
        """Make sure that it is still ours, and renew it if a part of the lease has passed.

        Raises:
            PublishError: another run has it.

        """
        with self._lock:
            age = self._age()
            other = self._marks.read(HELD)
            if self._is_mine(other) and age >= self._lease:
                # We were given up by whoever waited, who may not know yet that it has the claim.
                other = self._marks.read(CLAIM)
            if not self._is_mine(other):
                raise PublishError(
                    f"{_name(other) or 'another run'} has taken over publishing to {self._place}",
                    hint="run it again: what was pushed is found by its key",
                )
            if age >= self._lease / _RENEWALS:
                self._renewals += 1
                self._hold(f"{self._me}{_RENEWED}{self._renewals}")

    def free(self) -> None:
        """Give it back, if it was ever taken and is still ours."""
        if self._held and self._is_mine(self._marks.read(HELD)):
            # In this order: who finds the claim free may hold it at once.
            self._marks.write(HELD, "")
            if self._marks.read(CLAIM) == self._me:
                self._marks.write(CLAIM, "")
        self._held = False

    def _hold(self, text: str) -> None:
        # Before the request: others count from its arrival at the earliest.
        self._since = self._times()
        self._marks.write(HELD, text)

    def _age(self) -> float:
        """Seconds since it was renewed, also those in which the whole machine was asleep."""
        return max(now - then for now, then in zip(self._times(), self._since, strict=True))

    def _times(self) -> tuple[float, float]:
        return self._clock.monotonic(), self._clock.now()

    def _is_mine(self, text: str) -> bool:
        return _name(text) == self._me

    def _last_of_several(self, dead: str, tell: Tell) -> bool:
        """Whether it is ours after all: no other of those who came at once wrote after us."""
        self._wait(_DELAY_SECONDS)
        if self._marks.read(CLAIM) != self._me:
            return False
        # One of them was alone for just long enough, and has it.
        patience = _Patience(self._clock)
        while _name(other := self._marks.read(HELD)) not in ("", dead):
            if patience.changed((other,)):
                self._tell(other, tell)
            if patience.ended(self._lease):
                break
            self._wait(_POLL_SECONDS)
        return self._marks.read(CLAIM) == self._me

    def _until_free(self, dead: str, tell: Tell) -> str:
        """Wait until nobody has the claim, or one who must be dead; who is known to be dead then.

        Who has the claim, but does not hold it, may be waiting for the death of one who did.
        """
        patience = _Patience(self._clock)
        while (other := self._marks.read(CLAIM)) not in ("", dead, self._me):
            holder = self._marks.read(HELD)
            if patience.changed((other, holder)):
                self._tell(holder or other, tell)
            waits = _name(holder) not in ("", other)
            if patience.ended(self._lease * (2 if waits else 1)):
                return other
            self._wait(_POLL_SECONDS)
        return dead

    def _tell(self, other: str, tell: Tell) -> None:
        tell(f"waiting: {_name(other)} is publishing to {self._place} just now")

    def _wait(self, seconds: float) -> None:
        if self._clock.wait(self._cancel, seconds):
            raise InterruptedRunError("interrupted while waiting to publish")


def _name(text: str) -> str:
    """Whose text it is that stands under a tag."""
    return text.partition(_RENEWED)[0]


class _Patience:
    """How long the same has been seen."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._seen: tuple[str, ...] = ()
        self._since = clock.monotonic()

    def changed(self, now: tuple[str, ...]) -> bool:
        if now == self._seen:
            return False
        self._seen, self._since = now, self._clock.monotonic()
        return True

    def ended(self, seconds: float) -> bool:
        return self._clock.monotonic() - self._since >= seconds


class RegistryMarks:
    """The names as tags of the repository that has the releases."""

    def __init__(self, registry: Registry, repository: Reference) -> None:
        self._registry = registry
        self._repository = repository

    def read(self, tag: str) -> str:
        try:
            manifest = self._registry.manifest(self._repository.with_tag(tag))
        except NotFoundError:
            return ""
        annotations = json.loads(manifest.body).get("annotations") or {}
        return str(annotations.get(HOLDER, ""))

    def write(self, tag: str, name: str) -> None:
        manifest, parts = make_artifact(TYPE, EMPTY, {HOLDER: name}, media_type=EMPTY_TYPE)
        self._registry.put_artifact(self._repository.with_tag(tag), manifest, parts[0])
