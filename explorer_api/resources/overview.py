"""The channels, and the state of the whole service."""

import time
from typing import Any

from explorer_api.http.responses import NO_CACHE, NO_STORE, ApiResponse
from explorer_api.live.channels import Channel
from explorer_api.live.heads import HeadSnapshot
from explorer_api.live.running_totals import TotalsNotReadyError
from explorer_api.resources.stats import channel_totals
from explorer_api.routing.calls import Call, ChannelCall
from explorer_api.schemas.channels import ChannelDetail, ChannelList, ChannelRow, Counts
from explorer_api.schemas.status import ChannelStatus, Status
from ledger.documents.format import Document
from ledger.mongodb.paging import Window
from ledger.position import highest_block_below

_RECENT_BLOCKS = 10
_REPORT_S = 1.0
"""How often the daemon reports."""


async def list_channels(call: Call) -> ApiResponse:
    """Every channel."""
    rows = [
        ChannelRow(**_row_fields(channel, await channel.snapshot()))
        for channel in await call.services.channels.all()
    ]
    return ApiResponse(ChannelList(rows), NO_CACHE)


async def get_channel(call: ChannelCall) -> ApiResponse:
    """One channel, with its configuration and counts."""
    head, first = call.snapshot.head, call.snapshot.first
    config = await _configuration(call, head) if head is not None else None
    counts = await _counts(call)
    body = ChannelDetail(
        **_row_fields(call.channel, call.snapshot),
        start_block=first["number"] if first is not None else None,
        head_hash=head["blockHash"] if head is not None else None,
        genesis_hash=first["blockHash"] if first is not None and first["number"] == 0 else None,
        last_config_block=_last_config(head),
        organisations=config["organisations"] if config is not None else None,
        orderer_organisations=config["ordererOrganisations"] if config is not None else None,
        orderers=config["consenters"] if config is not None else None,
        consensus_type=config["consensusType"] if config is not None else None,
        counts=counts,
    )
    return ApiResponse(body, NO_CACHE, seconds=_REPORT_S)


async def _counts(call: ChannelCall) -> Counts | None:
    """Null while they are not known: the rest of the answer need not wait."""
    try:
        totals = (await channel_totals(call, patience=0.2)).blocks.totals
    except TotalsNotReadyError:
        return None
    return Counts(totals.blocks, totals.transactions, totals.valid_transactions, totals.events)


async def _configuration(call: ChannelCall, head: Document) -> Document | None:
    """A configuration block has one transaction, the configuration."""
    number = _last_config(head)
    if number is None or number > call.last:
        return None
    transaction = await call.channel.reader.transaction_at(number, 0)
    return transaction.get("config") if transaction is not None else None


def _last_config(head: Document | None) -> int | None:
    """Genesis names no configuration block: it is the first one itself."""
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
        "peer_height": snapshot.peer_height,
        "lag_blocks": snapshot.lag_blocks,
        "state": snapshot.sync.state if snapshot.sync is not None else None,
    }


async def get_status(call: Call) -> ApiResponse:
    """The service and the progress of every channel."""
    channels = [await _channel_status(channel) for channel in await call.services.channels.all()]
    uptime = round(time.monotonic() - call.services.started_at, 3)
    return ApiResponse(Status(call.services.version, uptime, channels), NO_STORE)


async def get_status_history(call: Call) -> ApiResponse:
    """The last hour: heights, lag, rates and times to answer, sampled every ten seconds."""
    return ApiResponse(call.services.status_recorder.history(), NO_STORE)


async def _channel_status(channel: Channel) -> ChannelStatus:
    snapshot = await channel.snapshot()
    sync = snapshot.sync
    return ChannelStatus(
        name=channel.name,
        state=sync.state if sync is not None else None,
        peer=sync.peer if sync is not None else None,
        peer_height=snapshot.peer_height,
        seen_height=max(sync.seen_height, snapshot.height) if sync is not None else None,
        committed_height=snapshot.height,
        lag_blocks=snapshot.lag_blocks,
        transactions_per_second=sync.transactions_per_second if sync is not None else None,
        eta_seconds=await _eta(channel, snapshot),
        error=sync.error if sync is not None else None,
        reconciliation=sync.reconciliation if sync is not None else None,
        updated_at=sync.updated_at if sync is not None else None,
    )


async def _eta(channel: Channel, snapshot: HeadSnapshot) -> float | None:
    """Seconds until the peer's height, if the blocks to come are as large as the last ones; None if none can tell."""
    if snapshot.lag_blocks == 0:
        return 0.0
    if (
        snapshot.lag_blocks is None
        or snapshot.sync is None
        or snapshot.sync.transactions_per_second <= 0
    ):
        return None
    recent = await channel.reader.blocks(
        0, highest_block_below(snapshot.height), Window(_RECENT_BLOCKS, descending=True)
    )
    if not recent.documents:
        return None
    per_block = sum(int(block["transactionCount"]) for block in recent.documents) / len(
        recent.documents
    )
    return round(snapshot.lag_blocks * per_block / snapshot.sync.transactions_per_second, 1)
