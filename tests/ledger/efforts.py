"""How long the property tests look: a moment in every run, and at leisure where `long` tests run."""

from datetime import timedelta

import pytest
from hypothesis import HealthCheck, settings

_DEADLINE = timedelta(
    seconds=30
)  # far above what any example takes: an endless loop is what it would catch

_SHORT = settings(
    max_examples=200,
    deadline=_DEADLINE,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
_LONG = settings(_SHORT, max_examples=2000)

EFFORTS = (
    pytest.param(_SHORT, id="short"),
    pytest.param(_LONG, id="long", marks=(pytest.mark.long, pytest.mark.timeout(900))),
)


def fewer(effort: settings) -> settings:
    """For examples of many megabytes."""
    return settings(effort, max_examples=min(effort.max_examples // 20, 100))
