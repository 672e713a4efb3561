"""Shows the progress and the outcome of indexing, for `import` and `reindex`."""

import asyncio
import time
from collections import deque
from collections.abc import Callable
from typing import Final

from rich.progress import Progress

from cli.output.console import messages
from indexer.monitoring.time_shares import stage_times, time_shares
from indexer.progress.channel_progress import ChannelProgress
from ledger.mongodb.sync_state import describe_build

_REDRAW_S: Final = 0.25
_LIMIT_READINGS: Final = 20
"""The number of redraws over which the bar tells what limits the rate."""


async def show_indexing(
    bars: Progress,
    description: str,
    total: int,
    completed: Callable[[], int],
    progress: ChannelProgress,
) -> None:
    """Draw a bar, of which `completed()` of `total` is done, until this is cancelled."""
    with bars as bar:
        task = bar.add_task(description, total=total, rate="")
        times = deque([stage_times(progress, time.monotonic())], maxlen=_LIMIT_READINGS)
        while True:
            rate = _describe(progress, time_shares(times[0], times[-1]).limit)
            bar.update(task, completed=completed(), rate=rate)
            await asyncio.sleep(_REDRAW_S)
            times.append(stage_times(progress, time.monotonic()))


def _describe(progress: ChannelProgress, limit: str | None) -> str:
    """Return the rate, the last block and the limit, or how far the builds of indexes are."""
    if progress.index_build is not None:
        return describe_build(progress.index_build)
    limited = f", limited by {limit}" if limit is not None else ""
    block = max(progress.committed_height - 1, 0)
    return f"{progress.rate:,.0f} tx/s, block {block:,}{limited}"


def report_indexing(progress: ChannelProgress, seconds: float) -> None:
    """Print what was indexed in how many seconds."""
    rate = progress.transactions / seconds if seconds else 0
    messages.print(
        f"{progress.blocks:,} new blocks, {progress.transactions:,} transactions, "
        f"{progress.events:,} events in {seconds:.1f} s ({rate:,.0f} tx/s); "
        f"{progress.redelivered_blocks:,} blocks were already stored; "
        f"{progress.undecodable:,} envelopes could not be decoded completely",
        highlight=False,
        soft_wrap=True,
    )
    if progress.redelivered_blocks:
        messages.print(
            "The blocks that were already stored were compared by header hash, validation codes "
            "and commit hash only. `kindledger verify --source PATH` compares all their documents",
            highlight=False,
            soft_wrap=True,
        )
