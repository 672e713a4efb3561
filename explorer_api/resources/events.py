"""Chaincode events."""

from explorer_api.http.parameters import ParameterFamily, block_number, names, text
from explorer_api.http.problems import filter_not_indexed, invalid_parameter
from explorer_api.http.responses import ApiResponse
from explorer_api.resources.page_requests import PageRequest, check_range, one_of
from explorer_api.routing.calls import ChannelCall
from explorer_api.schemas.events import EventPage, event_row
from ledger.mongodb.event_queries import EventFilter
from ledger.ownership import MAX_TX_ID_BYTES

_MAX_NAME_BYTES = 1 << 16
_MAX_VALUE_BYTES = 1024

BLOCK_GE = block_number("block.ge")
BLOCK_LE = block_number("block.le")
CHAINCODE = text("chaincode", "a chaincode's name", _MAX_NAME_BYTES)
NAME_EQ = text("name.eq", "an event name", _MAX_NAME_BYTES)
NAME_IN = names("name.in", NAME_EQ.name)
TX_ID = text("txId", "a transaction id", MAX_TX_ID_BYTES)
PAYLOAD = ParameterFamily(
    "payload.",
    "a field of JSON payloads that is indexed, full stops joining nested ones, and its value: a text, or a number, "
    "true, false or null as JSON has it",
    _MAX_VALUE_BYTES,
)
FILTERS = (BLOCK_GE, BLOCK_LE, CHAINCODE, NAME_EQ, NAME_IN, TX_ID)


async def list_events(call: ChannelCall) -> ApiResponse:
    """Events of VALID transactions, by their place on the chain.

    One of chaincode, txId and a field of the payload goes with any names and any range of blocks.
    """
    first, highest = call.query.get(BLOCK_GE), call.query.get(BLOCK_LE)
    check_range(call, BLOCK_GE, BLOCK_LE)
    wanted = EventFilter(
        call.query.get(CHAINCODE), _names(call), call.query.get(TX_ID), await _payload(call)
    )
    asked = (wanted.chaincode, wanted.names, wanted.tx_id, wanted.payload)
    listing = PageRequest(call, "events", first, highest, *asked)
    page = await call.channel.reader.matching_events(
        wanted, first or 0, listing.last(highest), listing.window
    )
    items = [event_row(document) for document in page.documents]
    return ApiResponse(
        EventPage(items, listing.page_info(page), listing.height),
        listing.caching(page, call, highest),
    )


def _names(call: ChannelCall) -> tuple[str, ...] | None:
    single, several = call.query.get(NAME_EQ), call.query.get(NAME_IN)
    if single is not None and several is not None:
        raise invalid_parameter(
            NAME_IN.name, ",".join(several), f"nothing where {NAME_EQ.name} is given"
        )
    return (single,) if single is not None else several


async def _payload(call: ChannelCall) -> tuple[str, str] | None:
    """The field and value that are asked for. Raises `ProblemError` for a combination that no index answers."""
    one_of(call, CHAINCODE, TX_ID)
    fields = call.query.family(PAYLOAD)
    if not fields:
        return None
    path, value = next(iter(fields.items()))
    other = next((p.name for p in (CHAINCODE, TX_ID) if call.query.get(p) is not None), None)
    if other is not None or len(fields) > 1:
        name = other if other is not None else f"{PAYLOAD.prefix}{list(fields)[1]}"
        raise filter_not_indexed(
            name[:100],
            "No index answers that together with a field of the payload.",
            "Leave one of them out.",
        )
    indexed = (await call.channel.reader.optional_indexes()).payload_fields
    if path not in indexed:
        names = ", ".join(f"{PAYLOAD.prefix}{field}" for field in sorted(indexed))
        raise filter_not_indexed(
            f"{PAYLOAD.prefix}{path}"[:100],
            "This field of the payload is not indexed.",
            f"Indexed: {names or 'none'}. The operator can add it to indexer.payload_fields.",
        )
    return path, value
