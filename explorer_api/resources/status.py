"""The status of the service now, and during the last hour."""

import time
from typing import Final

from explorer_api.http.responses import NO_STORE, ApiResponse
from explorer_api.live.channels import Channel
from explorer_api.live.heads import HeadSnapshot
from explorer_api.routing.calls import Call
from explorer_api.schemas.status import ChannelStatus, Status
from ledger.mongodb.paging import Window

_RECENT_BLOCKS: Final = 10
"""The number of blocks from which the time until the channel has caught up is estimated."""


async def get_status(call: Call) -> ApiResponse:
    """Return the version and uptime of the service, and the progress of every channel."""
    channels = [await _channel_status(channel) for channel in await call.services.channels.all()]
    uptime = round(time.monotonic() - call.services.started_at, 3)
    return ApiResponse(Status(call.services.version, uptime, channels), NO_STORE)


async def get_status_history(call: Call) -> ApiResponse:
    """Return samples of heights, lags, rates and response times.

    A sample is taken every 10 seconds, and the samples of the last hour are kept.
    """
    return ApiResponse(call.services.status_recorder.history(), NO_STORE)


async def _channel_status(channel: Channel) -> ChannelStatus:
    snapshot = await channel.watch.recent()
    sync = snapshot.sync
    return ChannelStatus(
        name=channel.name,
        state=sync.state if sync is not None else None,
        peer=sync.peer if sync is not None else None,
        peer_height=snapshot.peer_height,
        seen_height=max(sync.seen_height, snapshot.height) if sync is not None else None,
        committed_height=snapshot.height,
        agreed_height=snapshot.agreed_height,
        peers_required=sync.peers_required if sync is not None else None,
        verified_height=snapshot.verified_height,
        envelopes=sync.envelopes if sync is not None else None,
        verification_error=sync.verification_error if sync is not None else None,
        peers=sync.peers if sync is not None else None,
        lag_blocks=snapshot.lag_blocks,
        transactions_per_second=sync.transactions_per_second if sync is not None else None,
        eta_seconds=await _eta_seconds(channel, snapshot),
        index_build=sync.index_build if sync is not None else None,
        error=sync.error if sync is not None else None,
        reconciliation=sync.reconciliation if sync is not None else None,
        updated_at=sync.updated_at if sync is not None else None,
    )


async def _eta_seconds(channel: Channel, snapshot: HeadSnapshot) -> float | None:
    """Return the seconds until the peer's height is reached; None if they cannot be estimated.

    The estimate assumes that the next blocks are as large as the last ones.
    """
    if snapshot.lag_blocks == 0:
        return 0.0
    rate = snapshot.sync.transactions_per_second if snapshot.sync is not None else 0
    if snapshot.lag_blocks is None or rate <= 0:
        return None
    window = Window(_RECENT_BLOCKS, descending=True)
    blocks = (await channel.reader.blocks(0, snapshot.last, window)).documents
    if not blocks:
        return None
    transactions_per_block = sum(int(block["transactionCount"]) for block in blocks) / len(blocks)
    return round(snapshot.lag_blocks * transactions_per_block / rate, 1)
