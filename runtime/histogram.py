"""Counts values by their size, so that operators see their spread and not only their mean."""

from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import accumulate
from typing import Final

SECONDS: Final = (
    *(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1),
    *(0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0),
)
"""Upper bounds for durations."""


class Histogram:
    """Counts values in buckets with inclusive upper bounds, and keeps the sum of all values."""

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = tuple(bounds)
        self.counts = [0] * (len(bounds) + 1)
        """The number of values in each bucket; the last one holds values above every bound."""
        self.sum = 0.0

    def observe(self, value: float) -> None:
        """Count a value."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.sum += value

    def cumulated(self) -> list[tuple[str, float]]:
        """Return the counts as Prometheus expects them: for each bound, all values up to it."""
        bounds = (*(str(float(bound)) for bound in self.bounds), "+Inf")
        return list(zip(bounds, accumulate(self.counts), strict=True))

    @contextmanager
    def timed(self, clock: Callable[[], float]) -> Iterator[None]:
        """Count the seconds that the context lasts, unless it ends with an error."""
        began = clock()
        yield
        self.observe(clock() - began)
