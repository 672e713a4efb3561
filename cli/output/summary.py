"""The totals of a stored ledger."""

from typing import Any

from msgspec import Struct
from pymongo.asynchronous.database import AsyncDatabase

from cli.output.console import print_json, print_table
from ledger.mongodb.block_range import stored_range
from ledger.mongodb.totals import LedgerTotals, TotalsQueries
from ledger.position import BlockNumber, Height


class Summary(Struct, frozen=True, rename="camel"):
    """The totals of all committed blocks; `statuses` counts transactions by validation code."""

    channel: str
    database: str
    start_block: BlockNumber | None
    height: Height
    transactions: int
    statuses: dict[str, int]
    events: int


async def summarise(database: AsyncDatabase[Any], channel: str) -> Summary:
    """Return the summary of a channel's ledger, read from its block documents."""
    stored = await stored_range(database)
    totals = LedgerTotals()
    if stored is not None:
        totals = await TotalsQueries(database).totals(stored.lowest, stored.highest)
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


def print_summary(summary: Summary, *, as_json: bool) -> None:
    """Print the totals on stdout."""
    if as_json:
        print_json(summary)
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
