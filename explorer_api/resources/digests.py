"""The digest of a channel's ledger, which an auditor writes down and compares later."""

from typing import Final

from explorer_api.http.parameters import block_number
from explorer_api.http.responses import IMMUTABLE, NO_CACHE, ApiResponse
from explorer_api.resources.blocks import head_block, read_block
from explorer_api.routing.calls import ChannelCall
from explorer_api.schemas.blocks import LedgerDigest

AT: Final = block_number("at")


async def get_digest(call: ChannelCall) -> ApiResponse:
    """Return the digest of all documents up to the latest block, or up to block `at`.

    Whoever has written the digest down can find out later whether a document was changed since:
    then `kindledger verify` finds a difference, or the digest of the same block is another one.
    """
    number = call.query.get(AT)
    block = head_block(call) if number is None else await read_block(call, number)
    start = call.snapshot.first["number"] if call.snapshot.first is not None else 0
    return ApiResponse(
        LedgerDigest(
            call.channel.name, start, block["number"], block["blockHash"], block.get("digest")
        ),
        NO_CACHE if number is None else IMMUTABLE,
    )
