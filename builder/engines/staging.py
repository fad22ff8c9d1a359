"""Pushes an image under the name of its key, which other runs may use in the same engine."""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from builder.core.engine.answers import LocalImage, Pushed
from builder.core.engine.transfer import Fault, PushFailedError
from builder.core.errors import PublishError
from builder.docker.daemon import Amounts

# Two runs get in each other's way for the few milliseconds between a tag and its push.
_ATTEMPTS = 10
_LONGEST_WAIT = 0.2


class Names(Protocol):
    """The part of an engine that names images and pushes them by name."""

    def tag(self, reference: str, target: str) -> None: ...

    def untag(self, reference: str) -> None: ...

    def inspect(self, reference: str) -> LocalImage | None: ...

    def push(
        self, reference: str, progress: Amounts, cancel: threading.Event | None = None
    ) -> Pushed: ...


@contextmanager
def staged(
    names: Names,
    image_id: str,
    name: str,
    *,
    run_id: str,
    progress: Amounts,
    cancel: threading.Event,
) -> Iterator[Pushed]:
    """Push the image as ``name``, which the engine has for the while.

    Another run of the same tree may give the name to an image of its own, or take it away, at any
    moment. So a push counts only if the name still is this image's when it has ended; and a name
    that no other run knows keeps the image, which would go with its last one.

    Raises:
        PublishError: the registry does not take it, or the name was another's each time.

    """
    own = f"{name}-{run_id}"
    names.tag(image_id, own)
    try:
        yield _push(names, image_id, name, progress, cancel)
    finally:
        names.untag(name)
        names.untag(own)


def _push(
    names: Names, image_id: str, name: str, progress: Amounts, cancel: threading.Event
) -> Pushed:
    for attempt in range(1, _ATTEMPTS + 1):
        names.tag(image_id, name)
        pushed = _push_own(names, image_id, name, progress, cancel)
        if pushed is not None:
            return pushed
        cancel.wait(random.uniform(0, attempt * _LONGEST_WAIT))  # noqa: S311 - no secret
    raise PublishError(
        f"cannot push {name}: other runs on this engine gave that name to images of their own,"
        f" {_ATTEMPTS} times",
        hint="let one run of a commit end before the next begins, or give each its own engine",
    )


def _push_own(
    names: Names, image_id: str, name: str, progress: Amounts, cancel: threading.Event
) -> Pushed | None:
    try:
        pushed = names.push(name, progress, cancel)
    except PushFailedError as error:
        if error.fault is not Fault.UNTAGGED:
            raise
        return None
    now = names.inspect(name)
    return pushed if now is not None and now.id == image_id else None
