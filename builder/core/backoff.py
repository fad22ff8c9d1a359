"""How often a step is repeated after a transient fault, and how long to wait before that."""

from __future__ import annotations

from msgspec import Struct

# 2 ** 64 seconds are for ever; a larger exponent would only overflow.
_LARGEST_EXPONENT = 64


class RetryPolicy(Struct, frozen=True, kw_only=True):
    """At most ``retries`` repetitions; the wait doubles from ``first`` to ``longest`` seconds."""

    retries: int = 3
    first: float = 2.0
    longest: float = 60.0

    def delay(self, attempt: int, chance: float) -> float:
        """Seconds to wait after ``attempt`` (from 1) failed; ``chance`` is in [0, 1).

        Half of the wait is left to chance, so that steps which one fault hit together do not come
        back together; the other half is certain, so that the far side is always given a rest.
        """
        ceiling = min(self.longest, self.first * 2.0 ** min(attempt - 1, _LARGEST_EXPONENT))
        return ceiling * (0.5 + 0.5 * chance)
