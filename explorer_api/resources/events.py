"""Chaincode events: the list of a channel, with filters."""

from typing import Any, Final

from msgspec import Struct

from explorer_api.http.parameters import (
    Parameter,
    ParameterFamily,
    Query,
    block_number,
    equality_filter,
    names,
    text,
)
from explorer_api.http.problems import ProblemError, filter_not_indexed, invalid_parameter
from explorer_api.http.responses import ApiResponse
from explorer_api.resources.filters import read_range, require_at_most_one
from explorer_api.routing.calls import ChannelCall
from explorer_api.routing.page_request import PageRequest
from explorer_api.schemas.events import EventPage, event_row
from ledger.mongodb.event_queries import EventFilter
from ledger.ownership import MAX_TX_ID_BYTES

_MAX_NAME_BYTES: Final = 1 << 16
_MAX_VALUE_BYTES: Final = 1024
_MAX_SHOWN_NAME: Final = 100

BLOCK_GE: Final = block_number("block.ge")
BLOCK_LE: Final = block_number("block.le")
CHAINCODE: Final = equality_filter(text("chaincode", "the name of a chaincode", _MAX_NAME_BYTES))
NAME: Final = equality_filter(text("name", "the name of an event", _MAX_NAME_BYTES))
NAME_IN: Final = names("name.in", NAME.name)
TX_ID: Final = equality_filter(text("txId", "a transaction id", MAX_TX_ID_BYTES))
PAYLOAD: Final = ParameterFamily(
    "payload.",
    "`…` is the path of an indexed field in JSON payloads, with full stops between its parts; "
    "the value is a text, or a number, true, false or null in JSON",
    _MAX_VALUE_BYTES,
)
FILTERS: Final[tuple[Parameter[Any], ...]] = (
    BLOCK_GE,
    BLOCK_LE,
    CHAINCODE,
    NAME,
    NAME_IN,
    TX_ID,
)


class EventFilters(Struct, frozen=True):
    """The filters in a request.

    `first` and `last` are the numbers of the first and last block, None for no bound.
    """

    first: int | None
    last: int | None
    fields: EventFilter

    def digest_parts(self) -> tuple[object, ...]:
        """Return all values of the filters."""
        fields = self.fields
        return (
            self.first,
            self.last,
            fields.chaincode,
            fields.names,
            fields.tx_id,
            fields.payload,
        )


def read_event_filters(call: ChannelCall) -> EventFilters:
    """Return the filters. Raises `ProblemError` when no index supports their combination."""
    query = call.query
    first, last = read_range(query, BLOCK_GE, BLOCK_LE)
    require_at_most_one(query, CHAINCODE, TX_ID)
    fields = EventFilter(
        query.get(CHAINCODE), _read_names(query), query.get(TX_ID), _read_payload(query)
    )
    return EventFilters(first, last, fields)


async def list_events(
    call: ChannelCall, filters: EventFilters, page_request: PageRequest
) -> ApiResponse:
    """Return the events of VALID transactions in the order of the chain.

    One of the filters chaincode, txId and payload can be combined with any names and any range of
    blocks.
    """
    if filters.fields.payload is not None:
        await _require_indexed_field(call, filters.fields.payload[0])
    page = await call.channel.reader.matching_events(
        filters.fields, filters.first or 0, page_request.last(filters.last), page_request.window
    )
    items = [event_row(document) for document in page.documents]
    return ApiResponse(
        EventPage(items, page_request.page_info(page), page_request.height),
        page_request.cache_control(page, call, filters.last),
    )


def _read_names(query: Query) -> tuple[str, ...] | None:
    name, several_names = query.get(NAME), query.get(NAME_IN)
    if name is not None and several_names is not None:
        allowed = f"nothing if {query.sent_name(NAME)} is given"
        raise invalid_parameter(NAME_IN.name, query.sent(NAME_IN), allowed)
    return (name,) if name is not None else several_names


def _read_payload(query: Query) -> tuple[str, str] | None:
    """Return the path and the value of the filter by a field of the payload."""
    fields = query.family(PAYLOAD)
    if not fields:
        return None
    for parameter in (CHAINCODE, TX_ID):
        if query.get(parameter) is not None:
            raise _not_combinable(query.sent_name(parameter))
    path, *further_paths = fields
    if further_paths:
        raise _not_combinable(f"{PAYLOAD.prefix}{further_paths[0]}")
    return path, fields[path]


def _not_combinable(name: str) -> ProblemError:
    return filter_not_indexed(
        name[:_MAX_SHOWN_NAME],
        "No index supports this filter together with a field of the payload.",
        "Leave out one of them.",
    )


async def _require_indexed_field(call: ChannelCall, path: str) -> None:
    """Raise `ProblemError` when the field of the payload is not indexed."""
    indexed = (await call.channel.reader.optional_indexes()).payload_fields
    if path not in indexed:
        parameters = ", ".join(f"{PAYLOAD.prefix}{field}" for field in sorted(indexed))
        raise filter_not_indexed(
            f"{PAYLOAD.prefix}{path}"[:_MAX_SHOWN_NAME],
            "This field of the payload is not indexed.",
            f"Indexed: {parameters or 'none'}. The operator can add fields to "
            "indexer.payload_fields.",
        )
