"""Checks of the queries over the long ledger: pages are right, and their plans are cheap."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from pymongo import AsyncMongoClient

from ledger.mongodb.paging import Page, Window
from ledger.mongodb.reader import LedgerReader
from ledger.mongodb.store import LedgerStore
from ledger.position import BlockNumber
from tests.ledger.long_ledger import (
    BLOCK_COUNT,
    HIDDEN,
    LAST,
    PER_BLOCK,
    ForgedTransaction,
    all_transactions,
)
from tests.ledger.query_plans import QueryPlan, QueryRecorder, explain_query

LIMIT = 20
"""The number of rows in a page."""

HIDDEN_TRANSACTIONS = HIDDEN * PER_BLOCK
"""The number of stored transactions whose blocks are not stored."""

Blocks = tuple[BlockNumber, BlockNumber]
"""The first and the last block of a range."""

WHOLE_LEDGER: Blocks = (BlockNumber(0), LAST)
MIDDLE: Blocks = (BlockNumber(BLOCK_COUNT // 3), BlockNumber(BLOCK_COUNT * 2 // 3))

ReadPage = Callable[[BlockNumber, BlockNumber, Window], Awaitable[Page]]
"""Reads a page of a list from a range of blocks."""


class LongLedger:
    """A reader and the store of the long ledger, and the recorder of their queries."""

    def __init__(
        self, client: AsyncMongoClient[dict[str, Any]], name: str, queries: QueryRecorder
    ) -> None:
        self.reader, self.store = LedgerReader(client, name), LedgerStore(client, name)
        self.queries = queries
        self._database = client[name]

    async def plans(self) -> list[QueryPlan]:
        """Return the plans of the queries since the last call.

        Each query must read majority-committed data, and must not scan a whole collection.
        """
        plans = []
        for command in self.queries.take():
            assert command["readConcern"] == {"level": "majority"}
            plan = await explain_query(self._database, command)
            self.queries.take()
            assert "COLLSCAN" not in plan.stages, command
            plans.append(plan)
        return plans


def positions_of(matches: Callable[[ForgedTransaction], bool], blocks: Blocks) -> list[int]:
    """Return the positions of the transactions of these blocks that match."""
    first, last = blocks
    return [
        transaction.position
        for transaction in all_transactions()
        if first <= transaction.block <= last and matches(transaction)
    ]


async def check_pages(
    ledger: LongLedger, read: ReadPage, expected: Sequence[int], blocks: Blocks, **cost: Any
) -> None:
    """Check the first page, a page in the middle and the last page, in both directions."""
    count = len(expected)
    middle, end = count * 3 // 5, max(0, count - LIMIT // 2)
    for descending, start in {
        *((False, 0), (False, middle)),
        *((True, 0), (True, middle), (True, end)),
    }:
        order = expected[::-1] if descending else expected
        window = Window(LIMIT, descending, order[start - 1] if start else None)
        page = await read(*blocks, window)
        assert [document["_id"] for document in page.documents] == order[start : start + LIMIT]
        assert page.more == (count > start + LIMIT)
        await check_plans(ledger, **cost)


async def check_plans(ledger: LongLedger, *, sorts: bool = False, extra: int = 0) -> None:
    """Check that the queries since the last check read few keys and documents of an index.

    `extra` is the number of documents that a query may read besides those of its page.
    """
    for plan in await ledger.plans():
        assert sorts or "SORT" not in plan.stages
        if plan.stages & {"DISTINCT_SCAN"}:
            assert (plan.documents, plan.keys <= 258) == (0, True)
            continue
        assert plan.stages & {"IXSCAN", "IDHACK", "CLUSTERED_IXSCAN"}, plan.stages
        assert plan.documents <= LIMIT + 1 + extra, plan.__dict__
        assert plan.keys <= 2 * (LIMIT + 1 + extra) + 2 * plan.scans, plan.__dict__
