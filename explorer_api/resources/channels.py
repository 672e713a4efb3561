"""Channels: the list, and one channel with its configuration and totals."""

from typing import Any, Final

from pymongo.errors import PyMongoError

from explorer_api.http.responses import NO_CACHE, ApiResponse
from explorer_api.live.channel_totals import TotalsNotReadyError
from explorer_api.live.channels import Channel
from explorer_api.live.heads import HeadSnapshot
from explorer_api.resources.totals import channel_totals
from explorer_api.routing.calls import Call, ChannelCall
from explorer_api.schemas.channels import ChannelDetail, ChannelList, ChannelRow, Counts
from ledger.documents.format import Document
from ledger.mongodb.required_indexes import is_index_missing

_TOTALS_SHARE: Final = 0.2
"""The share of the time limit in which the totals must be ready; else the response lacks them."""


async def list_channels(call: Call) -> ApiResponse:
    """Return all channels."""
    rows = [
        ChannelRow(**_row_fields(channel, await channel.watch.recent()))
        for channel in await call.services.channels.all()
    ]
    return ApiResponse(ChannelList(rows), NO_CACHE)


async def get_channel(call: ChannelCall) -> ApiResponse:
    """Return a channel with its configuration and totals."""
    head, first = call.snapshot.head, call.snapshot.first
    config = await _read_configuration(call, head) if head is not None else None
    body = ChannelDetail(
        **_row_fields(call.channel, call.snapshot),
        start_block=first["number"] if first is not None else None,
        head_hash=head["blockHash"] if head is not None else None,
        genesis_hash=first["blockHash"] if first is not None and first["number"] == 0 else None,
        last_config_block=_last_config_block(head),
        organisations=config["organisations"] if config is not None else None,
        orderer_organisations=config["ordererOrganisations"] if config is not None else None,
        orderers=config["consenters"] if config is not None else None,
        consensus_type=config["consensusType"] if config is not None else None,
        counts=await _counts(call),
    )
    return ApiResponse(body, NO_CACHE, seconds=call.services.limits.channel_cache_s)


async def _counts(call: ChannelCall) -> Counts | None:
    """Return the totals, None while they are not ready, or lack an index."""
    try:
        totals = (await channel_totals(call, _TOTALS_SHARE)).blocks.totals
    except TotalsNotReadyError:
        return None
    except PyMongoError as error:
        if is_index_missing(error):
            return None
        raise
    return Counts(totals.blocks, totals.transactions, totals.valid_transactions, totals.events)


async def _read_configuration(call: ChannelCall, head: Document) -> Document | None:
    """Return the channel configuration in force, None if its block is not stored.

    A configuration block has one transaction, which is the configuration.
    """
    number = _last_config_block(head)
    if number is None or number > call.last:
        return None
    transaction = await call.channel.reader.transaction_at(number, 0)
    return transaction.get("config") if transaction is not None else None


def _last_config_block(head: Document | None) -> int | None:
    """Return the number of the configuration block in force.

    The genesis block names no configuration block, since it is the first one itself.
    """
    if head is None:
        return None
    number = head["lastConfig"]
    if number is None and head["number"] == 0:
        return 0
    return number if isinstance(number, int) else None


def _row_fields(channel: Channel, snapshot: HeadSnapshot) -> dict[str, Any]:
    return {
        "name": channel.name,
        "height": snapshot.height,
        "agreed_height": snapshot.agreed_height,
        "verified_height": snapshot.verified_height,
        "peer_height": snapshot.peer_height,
        "lag_blocks": snapshot.lag_blocks,
        "state": snapshot.sync.state if snapshot.sync is not None else None,
    }
