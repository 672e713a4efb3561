"""Measures how late the event loop runs its tasks, by which every response is delayed."""

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Final

from prometheus_client.core import GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from runtime.histogram import SECONDS, Histogram

_WINDOW_S: Final = 10.0
"""The time over which the longest delay is exported."""


class LoopLag(Collector):
    """Sleeps repeatedly, and measures how late each sleep ends. One instance serves the process."""

    def __init__(self, interval_s: float = 0.1) -> None:
        self._interval_s = interval_s
        self._delays = Histogram(SECONDS)
        self._recent: deque[tuple[float, float]] = deque()
        """The time and the delay of each measurement within the window, in seconds."""

    @asynccontextmanager
    async def measuring(self) -> AsyncIterator[None]:
        """Measure while the context lasts."""
        measuring = asyncio.create_task(self._measure())
        try:
            yield
        finally:
            measuring.cancel()

    async def _measure(self) -> None:
        while True:
            due = time.monotonic() + self._interval_s
            await asyncio.sleep(self._interval_s)
            now = time.monotonic()
            self._delays.observe(now - due)
            self._recent.append((now, now - due))
            self._drop_old_measurements(now)

    def _drop_old_measurements(self, now: float) -> None:
        while self._recent and self._recent[0][0] < now - _WINDOW_S:
            self._recent.popleft()

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics with their present values."""
        self._drop_old_measurements(time.monotonic())
        longest = max((delay for _, delay in self._recent), default=0.0)
        yield GaugeMetricFamily(
            "kindledger_event_loop_lag_seconds",
            "How late the event loop was at most in the last ten seconds.",
            longest,
        )
        yield HistogramMetricFamily(
            "kindledger_event_loop_tick_delay_seconds",
            "How late the event loop was, at each measurement.",
            self._delays.cumulated(),
            self._delays.sum,
        )
