"""Statistics of a channel: totals over all its blocks."""

from collections.abc import Mapping
from typing import TypeVar

from explorer_api.http.responses import HALF_A_MINUTE, ApiResponse
from explorer_api.resources.totals import MAX_LISTED_NAMES, channel_totals
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


async def get_stats(call: ChannelCall) -> ApiResponse:
    """Return totals over all blocks, also by validation code, type, organisation and chaincode."""
    totals = await channel_totals(call)
    by_name, all_blocks = totals.blocks, totals.blocks.totals
    chaincodes = {name: chaincode.transactions for name, chaincode in by_name.chaincodes.items()}
    stats = Stats(
        height=call.snapshot.height,
        blocks=all_blocks.blocks,
        transactions=all_blocks.transactions,
        valid=all_blocks.valid_transactions,
        events=all_blocks.events,
        bytes=all_blocks.size,
        untimed_blocks=totals.untimed_blocks,
        statuses=[
            StatusTotal(name, validation_code(name), count)
            for name, count in _largest(by_name.statuses)
        ],
        types=[TypeTotal(name, count) for name, count in _largest(by_name.types)],
        organisations=[
            OrganisationTotal(name, count) for name, count in _largest(by_name.organisations)
        ],
        chaincodes=[
            ChaincodeActivity(name, count, totals.events.get(name, 0))
            for name, count in _largest(chaincodes)
        ],
    )
    return ApiResponse(stats, HALF_A_MINUTE)


def _largest(counts: Mapping[N, int]) -> list[tuple[N, int]]:
    """Return the names with the highest counts, the highest first."""
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0] or ""))
    return ordered[:MAX_LISTED_NAMES]
