"""The one table of routes."""

from typing import Final

from explorer_api import blocks, events, health, overview, transactions
from explorer_api.dispatch import ChannelRoute, Route
from explorer_api.parameters import CURSOR, LIMIT, ORDER

_CHANNEL: Final = "/api/v1/channels/{channel}"

ROUTES: Final[tuple[Route | ChannelRoute, ...]] = (
    Route("/live", health.live, asks_database=False),
    Route("/ready", health.ready),
    Route("/api/v1/status", overview.get_status),
    Route("/api/v1/channels", overview.list_channels),
    ChannelRoute(_CHANNEL, overview.get_channel),
    ChannelRoute(
        f"{_CHANNEL}/blocks",
        blocks.list_blocks,
        (LIMIT, CURSOR, ORDER, blocks.NUMBER_GE, blocks.NUMBER_LE, blocks.TS_GE, blocks.TS_LT),
    ),
    ChannelRoute(f"{_CHANNEL}/blocks/{{block}}", blocks.get_block, (blocks.INCLUDE,)),
    ChannelRoute(f"{_CHANNEL}/transactions/{{txId}}", transactions.get_transaction),
    ChannelRoute(
        f"{_CHANNEL}/events",
        events.list_events,
        (
            *(LIMIT, CURSOR, ORDER, events.BLOCK_GE, events.BLOCK_LE),
            *(events.NAME_EQ, events.NAME_IN, events.TX_ID),
        ),
        events.UNINDEXED,
    ),
)
