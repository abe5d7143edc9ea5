"""Few examples, the same in every run: a property test is a test, not a search."""

from hypothesis import HealthCheck, settings

few = settings(
    max_examples=25,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
