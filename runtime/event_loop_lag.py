"""How late the event loop is: whatever waits for its turn, such as an answer, waits at least as long."""

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Final

from prometheus_client.core import GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from runtime.histogram import SECONDS, Histogram

_INTERVAL_S: Final = 0.1
_WINDOW_S: Final = 10.0


class LoopLag(Collector):
    """Sleeps for a short time, again and again, and notes how much longer it was. One a process."""

    def __init__(self) -> None:
        self._delays = Histogram(SECONDS)
        self._latest: deque[tuple[float, float]] = deque()  # when, how late

    @asynccontextmanager
    async def measuring(self) -> AsyncIterator[None]:
        """Measures while the context lasts."""
        measuring = asyncio.create_task(self._measure())
        try:
            yield
        finally:
            measuring.cancel()

    async def _measure(self) -> None:
        while True:
            due = time.monotonic() + _INTERVAL_S
            await asyncio.sleep(_INTERVAL_S)
            now = time.monotonic()
            self._delays.observe(now - due)
            self._latest.append((now, now - due))
            self._forget(now)

    def _forget(self, now: float) -> None:
        while self._latest and self._latest[0][0] < now - _WINDOW_S:
            self._latest.popleft()

    def collect(self) -> Iterator[Metric]:
        """The metrics as they are now."""
        self._forget(time.monotonic())
        longest = max((late for _, late in self._latest), default=0.0)
        yield GaugeMetricFamily(
            "kindledger_event_loop_lag_seconds",
            "How late the event loop was at most in the last ten seconds.",
            longest,
        )
        yield HistogramMetricFamily(
            "kindledger_event_loop_tick_delay_seconds",
            "How late the event loop was, each time that it was measured.",
            self._delays.cumulated(),
            self._delays.sum,
        )
