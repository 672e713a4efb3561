"""Chaincode events."""

from msgspec import Struct

from explorer_api.http.parameters import ParameterFamily, Query, block_number, names, text
from explorer_api.http.problems import filter_not_indexed, invalid_parameter
from explorer_api.http.responses import ApiResponse
from explorer_api.resources.filters import read_range, require_one_filter
from explorer_api.routing.calls import ChannelCall
from explorer_api.routing.page_request import PageRequest
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


class EventFilters(Struct, frozen=True):
    """The filters of the list of events; None where the client set no bound."""

    first: int | None
    highest: int | None
    fields: EventFilter

    def digest_parts(self) -> tuple[object, ...]:
        """Return all values of the filters."""
        fields = self.fields
        return (
            *(self.first, self.highest),
            *(fields.chaincode, fields.names, fields.tx_id, fields.payload),
        )


def read_event_filters(call: ChannelCall) -> EventFilters:
    """Return the filters. Raises `ProblemError` for a combination that no index serves."""
    query = call.query
    first, highest = read_range(query, BLOCK_GE, BLOCK_LE)
    fields = EventFilter(
        query.get(CHAINCODE), _read_names(query), query.get(TX_ID), _read_payload(query)
    )
    return EventFilters(first, highest, fields)


async def list_events(
    call: ChannelCall, filters: EventFilters, page_request: PageRequest
) -> ApiResponse:
    """Events of VALID transactions, by their place on the chain.

    One of chaincode, txId and a field of the payload goes with any names and any range of blocks.
    """
    if filters.fields.payload is not None:
        await _require_indexed(call, filters.fields.payload[0])
    page = await call.channel.reader.matching_events(
        filters.fields,
        filters.first or 0,
        page_request.last(filters.highest),
        page_request.window,
    )
    items = [event_row(document) for document in page.documents]
    return ApiResponse(
        EventPage(items, page_request.page_info(page), page_request.height),
        page_request.cache_control(page, call, filters.highest),
    )


def _read_names(query: Query) -> tuple[str, ...] | None:
    single, several = query.get(NAME_EQ), query.get(NAME_IN)
    if single is not None and several is not None:
        allowed = f"nothing where {NAME_EQ.name} is given"
        raise invalid_parameter(NAME_IN.name, ",".join(several), allowed)
    return (single,) if single is not None else several


def _read_payload(query: Query) -> tuple[str, str] | None:
    """Return the path and the value of the filter by a field of the payload."""
    require_one_filter(query, CHAINCODE, TX_ID)
    fields = query.family(PAYLOAD)
    if not fields:
        return None
    other = next((p.name for p in (CHAINCODE, TX_ID) if query.get(p) is not None), None)
    if other is not None or len(fields) > 1:
        name = other if other is not None else f"{PAYLOAD.prefix}{list(fields)[1]}"
        raise filter_not_indexed(
            name[:100],
            "No index serves that together with a field of the payload.",
            "Leave one of them out.",
        )
    return next(iter(fields.items()))


async def _require_indexed(call: ChannelCall, path: str) -> None:
    indexed = (await call.channel.reader.optional_indexes()).payload_fields
    if path not in indexed:
        names = ", ".join(f"{PAYLOAD.prefix}{field}" for field in sorted(indexed))
        raise filter_not_indexed(
            f"{PAYLOAD.prefix}{path}"[:100],
            "This field of the payload is not indexed.",
            f"Indexed: {names or 'none'}. The operator can add it to indexer.payload_fields.",
        )
