"""The evidence bundle of a transaction, which proves it to others without this service."""

from explorer_api.http.problems import ProblemError
from explorer_api.http.responses import IMMUTABLE, NO_CACHE, ApiResponse
from explorer_api.live.raw_blocks import archive_unavailable
from explorer_api.resources.blocks import block_cache_control
from explorer_api.resources.transactions import (
    decode_tx_id,
    find_block_transaction,
    transaction_not_found,
)
from explorer_api.routing.calls import ChannelCall
from ledger.errors import ArchiveUnavailableError, LedgerError
from ledger.mongodb.evidence import MissingBlocksError
from ledger.position import unpack_position


async def get_evidence(call: ChannelCall) -> ApiResponse:
    """Return the evidence bundle of the transaction that owns an id.

    The bundle is a file that proves the transaction to others: `kindledger evidence verify` and
    the program `docs/evidence/verify.py` check it offline. It needs the archive of raw blocks.
    """
    tx_id = decode_tx_id(call.path["txId"])
    position = await call.channel.reader.owner_position(tx_id, call.last)
    if position is None:
        call.require_fresh_head()
        raise transaction_not_found(tx_id)
    number, index = unpack_position(position)
    is_final = number < call.snapshot.final_height
    return await _bundle(call, number, index, IMMUTABLE if is_final else NO_CACHE)


async def get_block_transaction_evidence(call: ChannelCall) -> ApiResponse:
    """Return the evidence bundle of the transaction with an index in a block.

    An envelope that owns no id has a bundle, too.
    """
    record = await find_block_transaction(call)
    number, index = record.transaction["blockNumber"], record.transaction["txIndex"]
    return await _bundle(call, number, index, block_cache_control(call, number))


async def _bundle(call: ChannelCall, number: int, index: int, cache_control: str) -> ApiResponse:
    bundles, channel = call.services.evidence, call.channel
    try:
        bundle = await bundles.make(channel.raw_blocks, channel.reader, number, index)
    except MissingBlocksError as error:
        missing = ", ".join(map(str, error.numbers[:10]))
        raise ProblemError(
            410,
            "raw-not-retained",
            "Raw block not retained",
            f"The evidence needs the original bytes of blocks that are not kept: {missing}.",
            f"The operator can get it from a peer: `kindledger evidence {number}:{index} -o FILE`.",
        ) from error
    except ArchiveUnavailableError as error:
        raise archive_unavailable(error) from error
    except LedgerError as error:
        raise ProblemError(
            409,
            "not-provable",
            "Not provable",
            str(error),
            "The operator can make it from another source with `kindledger evidence`, if a bundle "
            "of this transaction can prove anything.",
        ) from error
    return ApiResponse(bundle, cache_control)
