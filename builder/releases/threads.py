"""Does the same for many things at once, and stops early when one of them fails."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from typing import TypeVar

In = TypeVar("In")
Out = TypeVar("Out")

# Requests to one registry at a time, each with its connection kept.
AT_ONCE = 16


def each(work: Callable[[In], Out], items: Iterable[In], *, at_once: int = AT_ONCE) -> list[Out]:
    """What ``work`` gives for each item, in their order.

    After the first failure nothing more is started; what runs is waited for, then it is raised.
    """
    with ThreadPoolExecutor(max_workers=at_once) as pool:
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
