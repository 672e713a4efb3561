"""The totals of a stored ledger."""

from typing import Any, Final

import msgspec
from msgspec import Struct
from pymongo.asynchronous.database import AsyncDatabase

from cli.output.console import print_json, print_table
from ledger.mongodb.block_range import stored_range
from ledger.mongodb.totals import LedgerTotals, TotalsQueries
from ledger.position import BlockNumber, Height

_BLOCKS_IN_A_QUERY: Final = 100_000
"""The number of blocks for which one query computes totals; it takes about a second."""

_MAX_QUERIES: Final = 1_000
"""The number of queries of a summary: a single block with a wrong number makes the range long."""


class Summary(Struct, frozen=True, rename="camel"):
    """The totals of all committed blocks; `statuses` counts transactions by validation code."""

    channel: str
    database: str
    start_block: BlockNumber | None
    height: Height
    transactions: int
    statuses: dict[str, int]
    events: int


async def summarise(
    database: AsyncDatabase[Any], channel: str, *, blocks_in_a_query: int = _BLOCKS_IN_A_QUERY
) -> Summary:
    """Return the summary of a channel's ledger, read from its block documents."""
    stored = await stored_range(database)
    totals = LedgerTotals()
    if stored is not None:
        # In parts, so that no query of a large ledger reaches the time limit of a call.
        blocks = max(blocks_in_a_query, (stored.height - stored.lowest) // _MAX_QUERIES)
        for first in range(stored.lowest, stored.height, blocks):
            last = BlockNumber(min(first + blocks - 1, stored.highest))
            totals = totals.plus(await TotalsQueries(database).totals(first, last))
    statuses = sorted(totals.statuses.items(), key=lambda status: (-status[1], status[0]))
    return Summary(
        channel=channel,
        database=database.name,
        start_block=stored.lowest if stored is not None else None,
        height=stored.height if stored is not None else Height(0),
        transactions=totals.totals.transactions,
        statuses=dict(statuses),
        events=totals.totals.events,
    )


def print_summary(summary: Summary, already_stored: int, *, as_json: bool) -> None:
    """Print the totals on stdout.

    `already_stored` counts the imported blocks that were stored before, and were compared by their
    hashes and validation codes only; it is part of the JSON.
    """
    if as_json:
        print_json(msgspec.to_builtins(summary) | {"alreadyStored": already_stored})
        return
    rows: list[tuple[str, object]] = [
        ("channel", summary.channel),
        ("database", summary.database),
        ("blocks", f"{summary.height - (summary.start_block or 0):,} (height {summary.height:,})"),
        ("transactions", summary.transactions),
        *((f"  {status}", count) for status, count in summary.statuses.items()),
        ("events", summary.events),
    ]
    print_table(("", ""), rows)
