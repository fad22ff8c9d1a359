"""Does the same for many things at once, and stops early when one of them fails."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeVar

In = TypeVar("In")
Out = TypeVar("Out")

# Requests to one registry at a time: they are short, and the registry does the work.
AT_ONCE = 16


def each(work: Callable[[In], Out], items: Iterable[In], *, at_once: int = AT_ONCE) -> list[Out]:
    """What ``work`` gives for each item, in their order.

    After the first failure nothing more is started; what runs is waited for, then it is raised.
    """
    items = tuple(items)
    if len(items) < 2:  # noqa: PLR2004 - one has no other to wait for
        return [work(item) for item in items]
    from concurrent.futures import (  # noqa: PLC0415 - 12 ms that many runs have no use for
        FIRST_EXCEPTION,
        ThreadPoolExecutor,
        wait,
    )

    with ThreadPoolExecutor(max_workers=min(at_once, len(items))) as pool:
        futures = [pool.submit(work, item) for item in items]
        try:
            wait(futures, return_when=FIRST_EXCEPTION)
        finally:
            for future in futures:
                future.cancel()
    failed = (future for future in futures if not future.cancelled() and future.exception())
    for future in failed:
        future.result()
    return [future.result() for future in futures]
