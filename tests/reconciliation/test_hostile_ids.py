"""Ids and hashes that clients and applications choose: the other rows are settled as always."""

from devnet.forge.hostile_values import TX_IDS
from protos.transaction_pb2 import BAD_PROPOSAL_TXID, MVCC_READ_CONFLICT
from tests.reconciliation.block_builder import BlockBuilder, PlannedTransaction
from tests.reconciliation.gateway import Gateway
from tests.reconciliation.growing_ledger import GrowingLedger, forged_chain, submitted
from tests.reconciliation.running import reconcile_once
from tests.reconciliation.unusual_ids import STRANGE_IDS

UNUSABLE_IDS = ("a\0b", "x" * 256, "\0", "ends with a blank ")


async def states(gateway: Gateway) -> dict[str, str]:
    """Return the state of each row of the audit table by its hash."""
    rows = await gateway.connection.fetch("SELECT tx_hash, status FROM transactions")
    return {row["tx_hash"]: row["status"] for row in rows}


async def test_ids_that_no_column_can_hold_are_counted(
    indexer_dsn: str, ledger: GrowingLedger, gateway: Gateway
) -> None:
    """Rows with other strange ids get the state of the envelope that claimed the id."""
    builder = BlockBuilder()
    claimed = dict.fromkeys((*UNUSABLE_IDS, *STRANGE_IDS, *TX_IDS.values()))
    block, ids = builder.next_block(
        [
            PlannedTransaction(),
            PlannedTransaction(MVCC_READ_CONFLICT),
            *(PlannedTransaction(BAD_PROPOSAL_TXID, id_) for id_ in claimed),
        ]
    )
    unusable = {id_ for id_ in claimed if "\0" in id_ or len(id_) > 255 or id_.endswith(" ")}
    expected = {id_: "FAILED" for id_ in ids if id_ and id_ not in unusable} | {ids[0]: "CONFIRMED"}
    assert len(expected) > 15
    early, late = list(expected)[::2], list(expected)[1::2]
    for id_ in early:
        await gateway.transaction(id_)
    await ledger.commit([builder.genesis, block])
    await reconcile_once(indexer_dsn, ledger)
    for id_ in late:
        await gateway.transaction(id_)
    await reconcile_once(indexer_dsn, ledger)
    assert await states(gateway) == expected
    assert (
        await gateway.connection.fetchval("SELECT unusable_ids FROM ledger_cursor")
        == len(unusable)
        > 4
    )
    assert await gateway.discrepancies() == {}


async def test_rows_agree_with_a_chain_of_hostile_envelopes(
    indexer_dsn: str, ledger: GrowingLedger, gateway: Gateway
) -> None:
    """Every second envelope is hostile; every row agrees with a naive reading of the chain."""
    blocks = forged_chain(40, seed=11, hostile_share=0.5)
    expected = {each.tx_id: each.state for each in submitted(blocks)}
    for tx_id in expected:
        await gateway.transaction(tx_id)
    await ledger.commit(blocks)
    await reconcile_once(indexer_dsn, ledger)
    assert await states(gateway) == expected
    assert set(expected.values()) == {"CONFIRMED", "FAILED"}


async def test_a_placeholder_is_not_settled_although_a_client_claimed_it(
    indexer_dsn: str, ledger: GrowingLedger, gateway: Gateway
) -> None:
    builder = BlockBuilder()
    claimed = ("pending-7", "PENDING-8", "pending-", "pending-%")
    spelled = ("  pending-7", "0xpending-7", "\tPENDING-8")
    block, _ = builder.next_block([PlannedTransaction(BAD_PROPOSAL_TXID, id_) for id_ in claimed])
    await gateway.open_campaign()
    odd = {str(await gateway.transaction(hash_)) for hash_ in spelled}
    for hash_ in claimed:
        await gateway.transaction(hash_)
        await gateway.donation(hash_)
    await gateway.donation("")
    await ledger.commit([builder.genesis, block])
    await reconcile_once(indexer_dsn, ledger)
    assert await gateway.pending_rows() == len(spelled) + 2 * len(claimed) + 1
    assert await gateway.discrepancies() == {"impossible_hash": odd}


async def test_the_sweep_finds_another_spelling_and_does_not_rewrite_it(
    indexer_dsn: str, ledger: GrowingLedger, gateway: Gateway
) -> None:
    builder = BlockBuilder()
    block, ids = builder.next_block(
        [PlannedTransaction(code) for code in (0, MVCC_READ_CONFLICT) * 5]
    )
    patterns = ("{}", "0x{}", "0X{}", "  {}\n", "\t0x{} ")
    spelled = {
        patterns[n % 5].format(id_.upper() if n < 5 else id_): "FAILED" if n % 2 else "CONFIRMED"
        for n, id_ in enumerate(ids)
    }
    await ledger.commit([builder.genesis, block])
    for hash_ in spelled:
        await gateway.transaction(hash_)
    await reconcile_once(indexer_dsn, ledger)
    assert await states(gateway) == spelled
