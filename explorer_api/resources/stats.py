"""Statistics of a channel: sums over all its blocks."""

from collections.abc import Mapping
from typing import Final, TypeVar

from explorer_api.http.responses import ApiResponse
from explorer_api.live.running_totals import ChannelTotals
from explorer_api.routing.calls import ChannelCall
from explorer_api.schemas.stats import (
    ChaincodeActivity,
    OrganisationTotal,
    Stats,
    StatusTotal,
    TypeTotal,
)
from ledger.documents.code_names import validation_code

N = TypeVar("N", bound=str | None)

HALF_A_MINUTE: Final = "max-age=30"
MAX_NAMES: Final = 500
"""Of each kind, so many are listed: those with most transactions."""


async def channel_totals(call: ChannelCall, patience: float = 0.8) -> ChannelTotals:
    """The sums over the blocks that may be shown.

    Raises `TotalsNotReadyError` if they are not known within that share of the time that a request may take.
    """
    return await call.channel.totals.up_to(
        call.snapshot, call.services.options.seconds_per_request * patience
    )


async def get_stats(call: ChannelCall) -> ApiResponse:
    """Sums over all blocks: by validation code, type, organisation and chaincode."""
    counted = await channel_totals(call)
    blocks, totals = counted.blocks, counted.blocks.totals
    chaincodes = {name: chaincode.transactions for name, chaincode in blocks.chaincodes.items()}
    stats = Stats(
        height=call.snapshot.height,
        blocks=totals.blocks,
        transactions=totals.transactions,
        valid=totals.valid_transactions,
        events=totals.events,
        bytes=totals.size,
        untimed_blocks=counted.untimed_blocks,
        statuses=[
            StatusTotal(name, validation_code(name), count)
            for name, count in _largest(blocks.statuses)
        ],
        types=[TypeTotal(name, count) for name, count in _largest(blocks.types)],
        organisations=[
            OrganisationTotal(name, count) for name, count in _largest(blocks.organisations)
        ],
        chaincodes=[
            ChaincodeActivity(name, count, counted.events.get(name, 0))
            for name, count in _largest(chaincodes)
        ],
    )
    return ApiResponse(stats, HALF_A_MINUTE)


def _largest(counts: Mapping[N, int]) -> list[tuple[N, int]]:
    """The names with the highest counts, then by name."""
    return sorted(counts.items(), key=lambda item: (-item[1], item[0] or ""))[:MAX_NAMES]
