"""Profiles of Hypothesis: few examples in every run, and many examples where `long` tests run."""

from datetime import timedelta

import pytest
from hypothesis import HealthCheck, settings

_DEADLINE = timedelta(seconds=30)
"""Far longer than any example takes, so that only an endless loop exceeds it."""

_SHORT = settings(
    max_examples=200,
    deadline=_DEADLINE,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
_LONG = settings(_SHORT, max_examples=2000)

PROFILES = (
    pytest.param(_SHORT, id="short"),
    pytest.param(_LONG, id="long", marks=(pytest.mark.long, pytest.mark.timeout(900))),
)


def with_fewer_examples(profile: settings) -> settings:
    """Return the profile for examples of many megabytes."""
    return settings(profile, max_examples=min(profile.max_examples // 20, 100))
