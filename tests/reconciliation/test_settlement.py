"""Rows reach the state that the ledger says, whichever of the two came first."""

from decimal import Decimal

from tests.reconciliation.support import Gateway, GrowingLedger, chain, reconciling, sent, until


async def test_rows_written_before_during_and_after_their_block(
    indexer_dsn: str, ledger: GrowingLedger, gateway: Gateway
) -> None:
    """All of them end as the ledger says, and the campaign has raised the sum of its confirmed donations."""
    blocks = chain(60)
    donations = sent(blocks, "Donate")
    await gateway.open_campaign()
    before = [one for one in donations if one.block < 30]
    after = [one for one in donations if one.block >= 30]
    for one in before:
        await gateway.transaction(one.tx_id, amount=Decimal(one.args[2]))
        await gateway.donation(one.tx_id, amount=Decimal(one.args[2]))
    await ledger.commit(blocks[:30])

    async def settled() -> bool:
        return await gateway.waiting() == 0

    async with reconciling(indexer_dsn, ledger):
        await until(settled)
        await ledger.commit(blocks[30:])
        for one in after:
            await gateway.transaction(one.tx_id, amount=Decimal(one.args[2]))
            await gateway.donation(None, amount=Decimal(one.args[2]), payment_reference=one.tx_id)
        await gateway.connection.execute(
            "UPDATE donations SET blockchain_tx_hash = payment_reference WHERE blockchain_tx_hash IS NULL"
        )
        await until(settled)
    rows = await gateway.connection.fetch(
        "SELECT tx_hash, status, block_number, confirmed_at IS NULL AS untimed FROM transactions"
    )
    assert {tuple(row) for row in rows} == {
        (one.tx_id, one.state, one.block, not one.valid) for one in donations
    }
    rows = await gateway.connection.fetch("SELECT blockchain_tx_hash, status FROM donations")
    assert {tuple(row) for row in rows} == {(one.tx_id, one.state) for one in donations}
    raised = await gateway.connection.fetchval("SELECT raised_amount FROM campaigns")
    assert raised == sum(Decimal(one.args[2]) for one in donations if one.valid) > 0
    found = await gateway.discrepancies()
    assert found.keys() <= {"missing_row"}
