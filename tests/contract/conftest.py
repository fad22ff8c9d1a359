"""One suite for what tests pretend and for the real thing, so that the two cannot drift apart.

Parameters that are the real thing have the mark ``engine``: `make integration` runs these, and
`make unit` the others, which are guarded like unit tests.
"""

import pytest

from tests.support.guards import empty_home, guarded

__all__ = ["empty_home", "guarded"]


def real(*parameters: str) -> list[object]:
    """The same parameters, to be asked for only where there is an engine."""
    return [pytest.param(name, marks=pytest.mark.engine) for name in parameters]
