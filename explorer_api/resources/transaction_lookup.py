"""The lookup of a transaction in all channels."""

from explorer_api.http.responses import NO_CACHE, ApiResponse
from explorer_api.live.channels import Channel
from explorer_api.live.heads import HeadSnapshot
from explorer_api.live.missing_indexes import explain_missing_indexes
from explorer_api.resources.links import channel_path
from explorer_api.resources.transactions import (
    decode_tx_id,
    get_transaction,
    transaction_not_found,
)
from explorer_api.routing.calls import Call, ChannelCall
from explorer_api.schemas.transaction_lookup import TransactionLocation, TransactionLocations


async def find_transaction(call: Call) -> ApiResponse:
    """Return the transaction that owns an id, from the channel that has it.

    If several channels have a transaction with this id, return a list of them with status 300.
    """
    tx_id = decode_tx_id(call.path["txId"])
    channels = await call.services.channels.all()
    owners = await _find_owners(
        tx_id, [(channel, await channel.watch.recent()) for channel in channels]
    )
    if not owners:
        owners = await _find_owners(
            tx_id, [(channel, await channel.watch.read_now()) for channel in channels]
        )
    if not owners:
        raise transaction_not_found(tx_id)
    if len(owners) > 1:
        locations = [
            TransactionLocation(channel.name, channel_path(channel.name, "transactions", tx_id))
            for channel, _ in owners
        ]
        return ApiResponse(TransactionLocations(locations), NO_CACHE, status=300)
    channel, snapshot = owners[0]
    # The owner is found already: a fresher head is not needed.
    return await get_transaction(
        ChannelCall(call.services, call.path, call.query, channel, snapshot, head_is_fresh=True)
    )


async def _find_owners(
    tx_id: str, channels: list[tuple[Channel, HeadSnapshot]]
) -> list[tuple[Channel, HeadSnapshot]]:
    owners: list[tuple[Channel, HeadSnapshot]] = []
    for channel, snapshot in channels:
        with explain_missing_indexes(snapshot):
            position = await channel.reader.owner_position(tx_id, snapshot.last)
        if position is not None:
            owners.append((channel, snapshot))
    return owners
