"""What a database holds, in a few figures."""

from typing import Any

from msgspec import Struct
from pymongo.asynchronous.database import AsyncDatabase

from cli.output.console import print_json, print_table
from ledger.mongodb.collections import BLOCKS


class Summary(Struct, frozen=True, rename="camel"):
    """Totals over all committed blocks; `statuses` counts transactions by validation code."""

    channel: str
    database: str
    start_block: int | None
    height: int
    transactions: int
    statuses: dict[str, int]
    events: int


async def summarise(database: AsyncDatabase[Any], channel: str) -> Summary:
    """Adds up what the block documents say."""
    totals = {
        "_id": None,
        "transactions": {"$sum": "$transactionCount"},
        "events": {"$sum": "$eventCount"},
    }
    ends = {"start": {"$min": "$_id"}, "last": {"$max": "$_id"}}
    total: dict[str, Any] = {}
    async for document in await database[BLOCKS].aggregate([{"$group": totals | ends}]):
        total = document
    by_status: list[dict[str, Any]] = [
        {"$unwind": "$sums.statuses"},
        {"$group": {"_id": "$sums.statuses.name", "count": {"$sum": "$sums.statuses.count"}}},
        {"$sort": {"count": -1, "_id": 1}},
    ]
    return Summary(
        channel=channel,
        database=database.name,
        start_block=total.get("start"),
        height=total["last"] + 1 if total else 0,
        transactions=total.get("transactions", 0),
        statuses={
            document["_id"]: document["count"]
            async for document in await database[BLOCKS].aggregate(by_status)
        },
        events=total.get("events", 0),
    )


def print_summary(summary: Summary, *, as_json: bool) -> None:
    """The figures on stdout."""
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
