"""What holds for all tests."""

from hypothesis import HealthCheck, settings

# How long a draw takes says how busy this machine is, and a test that asserts times fails some day.
settings.register_profile("any-machine", suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any-machine")
