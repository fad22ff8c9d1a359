"""How long a step waits before it is repeated."""

from __future__ import annotations

import pytest

from builder.core.schedule import RetryPolicy


@pytest.mark.parametrize(
    ("attempt", "shortest", "longest"),
    [(1, 1.0, 2.0), (2, 2.0, 4.0), (3, 4.0, 8.0), (5, 5.0, 10.0), (10_000, 5.0, 10.0)],
)
def test_the_wait_doubles_up_to_a_limit_and_half_of_it_is_chance(
    attempt: int, shortest: float, longest: float
) -> None:
    policy = RetryPolicy(first=2.0, longest=10.0)
    assert policy.delay(attempt, 0.0) == shortest
    assert policy.delay(attempt, 1.0) == longest
