"""How long images took to build in earlier runs: what the order of a run and its estimate go by.

The file only makes runs faster, so one that is missing or broken counts as empty, and one that
cannot be written is left as it is.
"""

from __future__ import annotations

import contextlib
import json
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from builder.core.codec import MalformedError, decode
from builder.core.events import ImageStatus, Summary
from builder.core.plan import Action
from builder.system.files import replace_file

# A build's time follows the network of the day; the last few runs say more than the last one.
_NEWEST_COUNTS = 0.5


def load(path: Path) -> dict[str, float]:
    """Seconds by image."""
    try:
        recorded = decode(path.read_bytes(), dict[str, Any], what="the durations")
    except (OSError, MalformedError):
        return {}
    return {image: float(seconds) for image, seconds in recorded.items() if _is_duration(seconds)}


def record(path: Path, summary: Summary) -> None:
    """Remember what was really built in a run, smoothed with what was known."""
    known = load(path)
    for image, result in summary.images.items():
        built = result.action == Action.BUILD.value and result.status is ImageStatus.OK
        if built and not result.cached and _is_duration(result.seconds):
            before = known.get(image, result.seconds)
            mean = _NEWEST_COUNTS * result.seconds + (1 - _NEWEST_COUNTS) * before
            known[image] = round(mean, 3)
    # An accelerator that cannot be written must not fail the run that it would have served.
    with contextlib.suppress(OSError):
        replace_file(path, json.dumps(known, indent=1, sort_keys=True) + "\n")


def expected(known: Mapping[str, float], images: Iterable[str]) -> dict[str, float]:
    """Seconds for each of the images; one that was never built is taken for an average one.

    Where nothing is known, nothing is expected.
    """
    if not known:
        return {}
    average = sorted(known.values())[len(known) // 2]
    return {image: known.get(image, average) for image in images}


def _is_duration(value: object) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return math.isfinite(value) and value > 0
