"""The live stream of a channel: which messages a client gets, and from which position on."""

from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any, Final

from aiohttp import web

from explorer_api.http.parameters import Parameter, choice, equality_filter, several, text
from explorer_api.http.problems import ProblemError, invalid_parameter
from explorer_api.http.responses import HEADERS, NO_STORE
from explorer_api.routing.calls import ChannelCall
from explorer_api.streams.messages import EVERYTHING, Selection
from explorer_api.streams.positions import KINDS, block_at, block_start, position_id, read_position
from explorer_api.streams.session import StreamSession, StreamSource

EVENT_STREAM: Final = "text/event-stream"

_MAX_NAME_BYTES: Final = 1023
"""The maximal size of a name in a filter: the store may have omitted longer names."""

_HEADERS: Final = {
    "Content-Type": EVENT_STREAM,
    "Cache-Control": NO_STORE,
    "X-Accel-Buffering": "no",
}
_ALLOWED_IDS: Final = "the id of a message of this stream, for example 17 or 17.3.t"

TYPES: Final = several(
    "types",
    choice("types", *KINDS).parse,
    " or ".join(KINDS),
    {"type": "string", "enum": list(KINDS)},
)
CHAINCODE: Final = equality_filter(
    text("chaincode", "the name of the chaincode of transactions and events", _MAX_NAME_BYTES)
)
EVENT: Final = equality_filter(text("event", "the name of events", _MAX_NAME_BYTES))
LAST_EVENT_ID: Final = Parameter(
    "lastEventId",
    f"{_ALLOWED_IDS}; the header Last-Event-ID takes precedence",
    read_position,
    {"type": "string", "pattern": r"^[0-9]+(\.[0-9]+\.[te])?$"},
)
STREAM_PARAMETERS: Final[tuple[Parameter[Any], ...]] = (TYPES, CHAINCODE, EVENT, LAST_EVENT_ID)


async def open_stream(
    call: ChannelCall, request: web.Request
) -> Callable[[], Awaitable[web.StreamResponse]]:
    """Stream blocks, transactions and events as they are indexed, as server-sent events.

    The first message is `state`. Then `transaction`, `event` and `block` messages follow in the
    order of the chain; the `block` message comes after all other messages of its block. A client
    that resumes the stream with the last id that it received gets every message exactly once; it
    may use other filters then. Values of more than 64 KiB are omitted: /events with the filter
    txId has them. A client that reads too slowly gets `lagged`, and the stream ends.
    """
    kinds = call.query.get(TYPES)
    selection = Selection(
        frozenset(kinds) if kinds is not None else EVERYTHING.kinds,
        call.query.get(CHAINCODE),
        call.query.get(EVENT),
    )
    position = _last_position(call, request)
    if position is None:
        position = block_start(call.snapshot.height)
    elif position > block_start(call.snapshot.height):
        call = replace(call, snapshot=await call.channel.watch.read_now())
    _check_position(position, call)
    if selection.is_filtered and position < block_start(call.snapshot.height):
        await call.channel.reader.required_indexes.check()  # earlier blocks need a query
    services = call.services
    services.open_streams.check(request)
    source = StreamSource(
        channel=call.channel,
        snapshot=call.snapshot,
        feed=services.feeds.of(call.channel),
        replays=services.replays,
        open_streams=services.open_streams,
        limits=services.limits.streams,
    )
    general_headers = request[HEADERS]
    headers = {**general_headers, **call.snapshot.headers, **_HEADERS}
    return StreamSession(source, request, headers, selection, position).send


def _last_position(call: ChannelCall, request: web.Request) -> int | None:
    """Return the position at which the client resumes the stream, None for a new stream.

    A browser's EventSource reconnects with the header, and with the query of its first request.
    """
    header_values = request.headers.getall("Last-Event-ID", [])
    if not header_values:
        return call.query.get(LAST_EVENT_ID)
    last_event_id = ", ".join(header_values)
    try:
        return read_position(last_event_id)
    except ValueError:
        raise invalid_parameter("Last-Event-ID", last_event_id, _ALLOWED_IDS) from None


def _check_position(position: int, call: ChannelCall) -> None:
    """Raise `ProblemError` when a stream cannot begin at the position."""
    snapshot = call.snapshot
    if position > block_start(snapshot.height):
        raise ProblemError(
            409,
            "replay-ahead",
            "Replay ahead",
            f"The stream would be resumed at {position_id(position)}, but the height is "
            f"{snapshot.height}: the ledger is being indexed again, or this server has fewer "
            "blocks than another one.",
            "Try again later, or read the lists and open a new stream without Last-Event-ID.",
            height=snapshot.height,
        )
    lowest_block = snapshot.height - call.services.options.replay_blocks
    if snapshot.first is not None:
        lowest_block = max(lowest_block, int(snapshot.first["number"]))
    if block_at(position) < lowest_block:
        raise ProblemError(
            409,
            "replay-too-old",
            "Replay too old",
            f"The stream would be resumed at {position_id(position)}, but streams can only be "
            f"resumed from block {lowest_block} on.",
            "Read the lists up to now, and open a new stream without Last-Event-ID.",
            height=snapshot.height,
        )
