"""Settled rows are never changed, whatever they and the ledger say."""

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protos.transaction_pb2 import BAD_PROPOSAL_TXID, MVCC_READ_CONFLICT
from tests.reconciliation.block_builder import BlockBuilder, PlannedTransaction
from tests.reconciliation.gateway import Gateway
from tests.reconciliation.growing_ledger import GrowingLedger
from tests.reconciliation.running import reconcile_once

BUILDER = BlockBuilder(seed=3)
CHAIN = [BUILDER.genesis]
BLOCK, IDS = BUILDER.next_block(
    [
        PlannedTransaction(payload=b'{"amount":7}'),
        PlannedTransaction(MVCC_READ_CONFLICT),
        PlannedTransaction(),
        PlannedTransaction(BAD_PROPOSAL_TXID, "claimed"),
    ]
)
CHAIN.append(BLOCK)
HASHES = [
    *IDS,
    *(f" 0x{id_.upper()}" for id_ in IDS),
    "00" * 32,
    "impossible",
    "pending-1",
    "x" * 255,
]
SETTLED_ROWS = st.tuples(
    st.sampled_from(["CONFIRMED", "FAILED", "REFUNDED"]),
    st.sampled_from(HASHES),
    st.sampled_from([Decimal(7), Decimal(8)]),
    st.sampled_from([None, 0, 1, 2, 2**40]),
)
_ROW_VERSIONS = """
SELECT 'transactions' AS name, t.xmin::text, t::text FROM transactions t
UNION ALL SELECT 'donations', d.xmin::text, d::text FROM donations d
UNION ALL SELECT 'campaigns', c.xmin::text, c::text FROM campaigns c
"""


async def row_versions(gateway: Gateway) -> set[tuple[Any, ...]]:
    """Return every row, and the transaction that wrote it last."""
    return {tuple(row) for row in await gateway.connection.fetch(_ROW_VERSIONS)}


async def check_unchanged(
    dsn: str,
    ledger: GrowingLedger,
    gateway: Gateway,
    rows: list[tuple[str, str, Decimal, int | None]],
) -> None:
    """Settle the blocks and compare everything; rows that are settled already must stay."""
    if not ledger.progress.committed_height:
        await ledger.commit(CHAIN)
    await gateway.connection.execute(
        "TRUNCATE campaigns, transactions, donations, ledger_cursor, ledger_discrepancies"
    )
    for n, hash_ in enumerate(HASHES):
        await gateway.open_campaign(f"c{n}", hash_=hash_)
    used: set[str] = set()
    for state, hash_, amount, block in rows:
        await gateway.donation(hash_, state, amount=amount)
        if hash_ not in used and state != "REFUNDED":
            used.add(hash_)
            await gateway.transaction(hash_, state, amount=amount, block_number=block)
    before = await row_versions(gateway)
    await reconcile_once(dsn, ledger)
    assert await gateway.connection.fetchval("SELECT height FROM ledger_cursor") == len(CHAIN)
    assert await gateway.discrepancies()
    assert await row_versions(gateway) == before


@settings(max_examples=20, derandomize=True, database=None)
@given(rows=st.lists(SETTLED_ROWS, max_size=12))
async def test_settled_rows_are_never_changed(
    indexer_dsn: str,
    ledger: GrowingLedger,
    gateway: Gateway,
    rows: list[tuple[str, str, Decimal, int | None]],
) -> None:
    await check_unchanged(indexer_dsn, ledger, gateway, rows)


@pytest.mark.long
@pytest.mark.timeout(900)
@settings(max_examples=1000, derandomize=True, database=None)
@given(rows=st.lists(SETTLED_ROWS, max_size=30))
async def test_settled_rows_are_never_changed_in_many_examples(
    indexer_dsn: str,
    ledger: GrowingLedger,
    gateway: Gateway,
    rows: list[tuple[str, str, Decimal, int | None]],
) -> None:
    await check_unchanged(indexer_dsn, ledger, gateway, rows)
