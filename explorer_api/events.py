"""Chaincode events."""

from explorer_api.dispatch import Answer, ChannelCall
from explorer_api.lists import Listing, check_range
from explorer_api.parameters import UnindexedFilter, block_number, names, text
from explorer_api.problems import invalid_parameter
from explorer_api.representations import EventPage, event
from ledger.ownership import MAX_TX_ID_BYTES

_MAX_NAME_BYTES = 1 << 16

BLOCK_GE = block_number("block.ge")
BLOCK_LE = block_number("block.le")
NAME_EQ = text("name.eq", "an event name", _MAX_NAME_BYTES)
NAME_IN = names("name.in", NAME_EQ.name)
TX_ID = text("txId", "a transaction id", MAX_TX_ID_BYTES)
UNINDEXED = (UnindexedFilter("chaincode"), UnindexedFilter("payload."))


async def list_events(call: ChannelCall) -> Answer:
    """Events by their place on the chain."""
    first, highest = call.query.get(BLOCK_GE), call.query.get(BLOCK_LE)
    check_range(call, BLOCK_GE, BLOCK_LE)
    wanted, tx_id = _names(call), call.query.get(TX_ID)
    listing = Listing(call, "events", first, highest, wanted, tx_id)
    reader, low, last = call.channel.reader, first or 0, listing.last(highest)
    if tx_id is not None:
        page = await reader.events_of_transaction(tx_id, wanted, low, last, listing.window)
    elif wanted is not None:
        page = await reader.events_named(wanted, low, last, listing.window)
    else:
        page = await reader.events(low, last, listing.window)
    items = [event(document) for document in page.documents]
    return Answer(EventPage(items, listing.page_info(page), listing.height), listing.caching(page, call, highest))


def _names(call: ChannelCall) -> tuple[str, ...] | None:
    single, several = call.query.get(NAME_EQ), call.query.get(NAME_IN)
    if single is not None and several is not None:
        raise invalid_parameter(NAME_IN.name, ",".join(several), f"nothing where {NAME_EQ.name} is given")
    return (single,) if single is not None else several
