"""Each of these tests is guarded, as ``tests/support/guards.py`` says."""

from tests.support.guards import empty_home, guarded

__all__ = ["empty_home", "guarded"]
