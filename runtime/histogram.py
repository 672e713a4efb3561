"""Values counted by their size, so that operators see how they spread and not only their mean."""

from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import accumulate
from typing import Final

SECONDS: Final = (
    0.001,
    0.0025,
    0.005,
    0.01,
    0.025,
    0.05,
    0.1,
    0.25,
    0.5,
    1.0,
    2.5,
    5.0,
    10.0,
    30.0,
)
"""Bounds for durations."""


class Histogram:
    """How many values were at most as large as each bound and larger than the one before, and their sum."""

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = tuple(bounds)
        self.counts = [0] * (len(bounds) + 1)
        """One for each bound, and one for what is larger than all of them."""
        self.sum = 0.0

    def observe(self, value: float) -> None:
        """Counts a value."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.sum += value

    def cumulated(self) -> list[tuple[str, float]]:
        """The counts as Prometheus has them: by upper bound, each with what the ones before it count."""
        bounds = (*(str(float(bound)) for bound in self.bounds), "+Inf")
        return list(zip(bounds, accumulate(self.counts), strict=True))

    @contextmanager
    def timed(self, clock: Callable[[], float]) -> Iterator[None]:
        """Counts the seconds that the context lasts, unless it ends with an error."""
        began = clock()
        yield
        self.observe(clock() - began)
