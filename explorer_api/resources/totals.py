"""The totals over a channel's blocks, for the resources that show them."""

from typing import Final

from explorer_api.live.channel_totals import ChannelTotals
from explorer_api.routing.calls import ChannelCall

MAX_LISTED_NAMES: Final = 500
"""The maximal number of names in a list of totals; it has those with the most transactions."""


async def channel_totals(call: ChannelCall, share_of_time: float = 0.8) -> ChannelTotals:
    """Return the totals over all blocks up to the head.

    Raises `TotalsNotReadyError` when the totals are not ready within that share of the time
    limit of a request.
    """
    return await call.channel.totals.up_to(
        call.snapshot, call.services.options.seconds_per_request * share_of_time
    )
