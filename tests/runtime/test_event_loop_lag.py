"""Work that blocks the event loop shows in the metrics."""

import asyncio
import time
from collections.abc import Sequence

from runtime.event_loop_lag import LoopLag

BLOCKED_S = 1.0


async def test_a_blocked_event_loop_shows_in_the_metrics() -> None:
    def lag_and_total(lag: LoopLag) -> Sequence[float]:
        gauge, histogram = lag.collect()
        return gauge.samples[0].value, histogram.samples[-1].value

    lag = LoopLag(interval_s=0.05)
    async with lag.measuring():
        await asyncio.sleep(0.2)
        before, _ = lag_and_total(lag)
        time.sleep(BLOCKED_S)  # noqa: ASYNC251 - as work does that belongs into a thread
        await asyncio.sleep(0.02)
        longest, total = lag_and_total(lag)
    assert longest > max(before, 0.9 * BLOCKED_S)
    assert total > longest - 1e-9
