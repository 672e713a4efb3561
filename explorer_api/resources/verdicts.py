"""The verdicts on the signatures of blocks and transactions, as far as they are needed."""

from explorer_api.routing.calls import ChannelCall
from explorer_api.schemas.verification import (
    BlockVerification,
    TransactionVerification,
    block_verification,
    transaction_verification,
    verification_state,
)
from ledger.documents.format import Document
from ledger.model import VALID
from ledger.mongodb.verdicts import StoredVerdict


async def verification_of_block(call: ChannelCall, block: Document) -> BlockVerification:
    """Return what is known of a block."""
    number = int(block["number"])
    verdict = await _verdict(call, number)
    if verdict is not None and verdict.block_hash != block["blockHash"]:
        verdict = None  # of a chain that was stored before
    return block_verification(number, call.snapshot.agreed_height, verdict)


async def verification_of_transaction(
    call: ChannelCall, transaction: Document
) -> TransactionVerification:
    """Return what is known of a transaction.

    The verdict is only read if it can be about the transaction: no check of a VALID one failed
    while the channel has no contradiction.
    """
    number, snapshot = transaction["blockNumber"], call.snapshot
    is_verified = number < (snapshot.verified_height or 0)
    state = verification_state(number, snapshot.agreed_height, is_verified=is_verified)
    is_sound = transaction["validationCode"] == VALID and not snapshot.contradictions
    verdict = None if is_sound else await _verdict(call, number)
    return transaction_verification(state, transaction["txIndex"], verdict)


async def _verdict(call: ChannelCall, number: int) -> StoredVerdict | None:
    """Return the verdict on a block; None if the daemon has not verified it."""
    if number >= (call.snapshot.verified_height or 0):
        return None
    return await call.channel.reader.verdict(number)
