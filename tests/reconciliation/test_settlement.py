"""Rows reach the state that the ledger says, whether row or block comes first."""

from decimal import Decimal

from tests.reconciliation.gateway import Gateway
from tests.reconciliation.growing_ledger import GrowingLedger, forged_chain, submitted
from tests.reconciliation.running import reconciling


async def test_rows_written_before_and_after_their_block_agree_with_the_ledger(
    indexer_dsn: str, ledger: GrowingLedger, gateway: Gateway
) -> None:
    """All of them agree with the ledger, and the campaign has raised its confirmed donations."""
    blocks = forged_chain(60)
    donations = submitted(blocks, "Donate")
    await gateway.open_campaign()
    before = [each for each in donations if each.block < 30]
    after = [each for each in donations if each.block >= 30]
    for each in before:
        await gateway.transaction(each.tx_id, amount=Decimal(each.args[2]))
        await gateway.donation(each.tx_id, amount=Decimal(each.args[2]))
    await ledger.commit(blocks[:30])
    async with reconciling(indexer_dsn, ledger):
        await gateway.wait_until_settled()
        await ledger.commit(blocks[30:])
        for each in after:
            await gateway.transaction(each.tx_id, amount=Decimal(each.args[2]))
            await gateway.donation(None, amount=Decimal(each.args[2]), payment_reference=each.tx_id)
        await gateway.connection.execute(
            "UPDATE donations SET blockchain_tx_hash = payment_reference "
            "WHERE blockchain_tx_hash IS NULL"
        )
        await gateway.wait_until_settled()
    rows = await gateway.connection.fetch(
        "SELECT tx_hash, status, block_number, confirmed_at IS NULL AS untimed FROM transactions"
    )
    assert {tuple(row) for row in rows} == {
        (each.tx_id, each.state, each.block, not each.valid) for each in donations
    }
    rows = await gateway.connection.fetch("SELECT blockchain_tx_hash, status FROM donations")
    assert {tuple(row) for row in rows} == {(each.tx_id, each.state) for each in donations}
    raised = await gateway.connection.fetchval("SELECT raised_amount FROM campaigns")
    assert raised == sum(Decimal(each.args[2]) for each in donations if each.valid) > 0
    assert (await gateway.discrepancies()).keys() <= {"missing_row"}
