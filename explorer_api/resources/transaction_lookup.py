"""One transaction, whichever channel has it."""

from urllib.parse import quote

from explorer_api.http.responses import NO_CACHE, ApiResponse
from explorer_api.live.channels import Channel
from explorer_api.live.heads import HeadSnapshot
from explorer_api.resources.transactions import decode_tx_id, get_transaction, transaction_not_found
from explorer_api.routing.calls import Call, ChannelCall
from explorer_api.schemas.transaction_lookup import TransactionLocation, TransactionLocations
from ledger.position import highest_block_below


async def find_transaction(call: Call) -> ApiResponse:
    """The transaction that owns the id, whichever channel has it; a list of channels if several have it."""
    tx_id = decode_tx_id(call.path["txId"])
    channels = await call.services.channels.all()
    found = await _owners(tx_id, [(channel, await channel.snapshot()) for channel in channels])
    if not found:
        found = await _owners(
            tx_id, [(channel, await channel.watch.read_now()) for channel in channels]
        )
    if not found:
        raise transaction_not_found(tx_id)
    if len(found) > 1:
        places = [
            TransactionLocation(
                channel.name,
                f"/api/v1/channels/{quote(channel.name, safe='')}/transactions/{quote(tx_id, safe='')}",
            )
            for channel, _ in found
        ]
        return ApiResponse(TransactionLocations(places), NO_CACHE, status=300)
    channel, snapshot = found[0]
    return await get_transaction(
        ChannelCall(call.services, call.path, call.query, channel, snapshot, head_is_fresh=True)
    )


async def _owners(
    tx_id: str, channels: list[tuple[Channel, HeadSnapshot]]
) -> list[tuple[Channel, HeadSnapshot]]:
    return [
        (channel, snapshot)
        for channel, snapshot in channels
        if await channel.reader.owner_position(tx_id, highest_block_below(snapshot.height))
        is not None
    ]
