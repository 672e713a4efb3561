"""Rows with unusual amounts, hashes, dates and lives."""

from decimal import Decimal

from protos.transaction_pb2 import MVCC_READ_CONFLICT
from tests.reconciliation.block_builder import BlockBuilder, PlannedTransaction
from tests.reconciliation.gateway import Gateway
from tests.reconciliation.growing_ledger import GrowingLedger
from tests.reconciliation.running import reconcile_once

AMOUNTS: dict[str, tuple[bytes, bool]] = {
    "integer": (b"12", False),
    "float": (b"12.0", False),
    "string": (b'"12.00"', False),
    "exponent": (b"1.2e1", False),
    "string with exponent": (b'"120e-1"', False),
    "another number": (b"13", True),
    "almost equal": (b"12.001", True),
    "negative": (b"-12", True),
    "zero": (b"0", True),
    "larger than 64 bits": (b"123456789012345678901234567890", True),
    "absurd exponent": (b'"1e999999999"', True),
    "absurd negative exponent": (b'"1e-999999999"', True),
    "exponent beyond decimals": (b'"1e99999999999999999999"', False),
    "infinite": (b"1e400", False),
    "no number": (b'"twelve"', False),
    "not a number": (b'"NaN"', False),
    "signalling": (b'"sNaN"', False),
    "too long": (b"1" * 101, False),
    "truth": (b"true", False),
    "null": (b"null", False),
    "list": (b"[13]", False),
    "object": (b'{"amount":13}', False),
    "claimed to be a big integer": (b'{"bigInteger":"13"}', True),
    "claimed twice": (b'{"bigInteger":{"bigInteger":13}}', False),
}
"""Amounts in an event, and whether they differ from 12. Other values than numbers are ignored."""


async def test_an_amount_that_differs_from_the_event_is_a_discrepancy(
    indexer_dsn: str, ledger: GrowingLedger, gateway: Gateway
) -> None:
    """Every row is settled; a row with another number than the event is a discrepancy."""
    builder = BlockBuilder()
    planned = [PlannedTransaction(payload=b'{"amount":%s}' % text) for text, _ in AMOUNTS.values()]
    block, ids = builder.next_block(
        [
            *planned,
            PlannedTransaction(payload=b'[{"amount":13}]'),
            PlannedTransaction(payload=b"amount"),
            PlannedTransaction(),
        ]
    )
    await gateway.open_campaign()
    wrong = set()
    for id_, differs in zip(
        ids, [*(differs for _, differs in AMOUNTS.values()), False, False, False], strict=True
    ):
        key = await gateway.donation(id_, amount=Decimal(12))
        await gateway.transaction(id_, amount=None)
        if differs:
            wrong.add(str(key))
    await ledger.commit([builder.genesis, block])
    await reconcile_once(indexer_dsn, ledger)
    assert await gateway.pending_rows() == 0
    assert await gateway.discrepancies() == {"amount_differs": wrong}
    await gateway.connection.execute(
        "ALTER TABLE transactions DROP CONSTRAINT IF EXISTS transactions_amount_check"
    )
    odd = await gateway.connection.fetchval(
        "UPDATE transactions SET amount = 'NaN' WHERE tx_hash = $1 RETURNING id::text", ids[0]
    )
    await reconcile_once(indexer_dsn, ledger)
    assert await gateway.discrepancies() == {"amount_differs": wrong | {odd}}


async def test_two_donations_with_one_hash_are_both_settled(
    indexer_dsn: str, ledger: GrowingLedger, gateway: Gateway
) -> None:
    """Both are settled: the daemon cannot know which of them is right."""
    builder = BlockBuilder()
    block, (valid, invalid) = builder.next_block(
        [PlannedTransaction(), PlannedTransaction(MVCC_READ_CONFLICT)]
    )
    await gateway.open_campaign()
    for hash_ in (valid, invalid):
        for amount in (2, 3):
            await gateway.donation(hash_, amount=Decimal(amount))
    await ledger.commit([builder.genesis, block])
    await reconcile_once(indexer_dsn, ledger)
    rows = await gateway.connection.fetch(
        "SELECT status, sum(amount) FROM donations GROUP BY status"
    )
    assert {tuple(row) for row in rows} == {("CONFIRMED", 5), ("FAILED", 5)}
    assert await gateway.connection.fetchval("SELECT raised_amount FROM campaigns") == 5


async def test_the_grace_period_of_a_row_without_a_date_is_over(
    indexer_dsn: str, ledger: GrowingLedger, gateway: Gateway
) -> None:
    """An adopted table may have such rows."""
    await gateway.connection.execute("ALTER TABLE transactions ALTER created_at DROP NOT NULL")
    key = await gateway.transaction("ab" * 32, created_at=None)
    await ledger.commit([BlockBuilder().genesis])
    await reconcile_once(indexer_dsn, ledger)
    assert await gateway.discrepancies() == {"not_on_ledger": {str(key)}}


async def test_a_deleted_row_leaves_its_transaction_without_a_row(
    indexer_dsn: str, ledger: GrowingLedger, gateway: Gateway
) -> None:
    """This holds after a search that found the row; a new row closes the discrepancy."""
    builder = BlockBuilder()
    block, (deleted, renamed) = builder.next_block([PlannedTransaction(), PlannedTransaction()])
    for id_ in (deleted, renamed):
        await gateway.transaction(id_)
    await ledger.commit([builder.genesis, block])
    await reconcile_once(indexer_dsn, ledger)
    assert await gateway.discrepancies() == {}
    await gateway.connection.execute("DELETE FROM transactions WHERE tx_hash = $1", deleted)
    await gateway.connection.execute("UPDATE transactions SET tx_hash = 'pending-1'")
    await reconcile_once(indexer_dsn, ledger)
    assert await gateway.discrepancies() == {"missing_row": {deleted, renamed}}
    await gateway.transaction(deleted)
    await reconcile_once(indexer_dsn, ledger)
    assert await gateway.discrepancies() == {"missing_row": {renamed}}
