"""The live stream of a channel: server-sent events, resumed exactly where a client left off."""

import asyncio
import random
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Final

import structlog
from aiohttp import web

from explorer_api.http.parameters import Parameter, choice, several, text
from explorer_api.http.problems import ProblemError, invalid_parameter
from explorer_api.http.responses import HEADERS, NO_STORE
from explorer_api.live.heads import HeadSnapshot
from explorer_api.routing.calls import ChannelCall
from explorer_api.schemas.stream import Lagged, StreamState
from explorer_api.streams.chunk_reader import FIRST_LIMITS, ChainReplacedError
from explorer_api.streams.connection import SlowClientError, StreamConnection
from explorer_api.streams.feed import Subscription
from explorer_api.streams.messages import (
    EVERYTHING,
    KINDS,
    Selection,
    block_at,
    block_start,
    ping,
    position_id,
    read_position,
    server_sent,
)

log = structlog.get_logger()

EVENT_STREAM: Final = "text/event-stream"
PING_S: Final = 15.0
_RETRY_MS: Final = 2000
_MAX_NAME_BYTES: Final = 1023  # what is longer the store may have omitted
_HEADERS: Final = {
    "Content-Type": EVENT_STREAM,
    "Cache-Control": NO_STORE,
    "X-Accel-Buffering": "no",
}

_POSITION = "the id of a message of this stream, such as 17 or 17.3.t"

TYPES = several(
    "types",
    choice("types", *KINDS).parse,
    " or ".join(KINDS),
    {"type": "string", "enum": list(KINDS)},
)
CHAINCODE = text(
    "chaincode",
    "the name of a chaincode, of whose transactions and events to tell",
    _MAX_NAME_BYTES,
)
EVENT = text("event", "the name that events must have", _MAX_NAME_BYTES)
LAST_EVENT_ID = Parameter(
    "lastEventId",
    f"{_POSITION}; the header Last-Event-ID goes before",
    read_position,
    {"type": "string", "pattern": r"^[0-9]+(\.[0-9]+\.[te])?$"},
)
STREAM_PARAMETERS = (TYPES, CHAINCODE, EVENT, LAST_EVENT_ID)


async def open_stream(
    call: ChannelCall, request: web.Request
) -> Callable[[], Awaitable[web.StreamResponse]]:
    """Blocks, transactions and events as they are indexed, as server-sent events.

    First comes `state`, then in the order of the chain `transaction`, `event` and, when the whole block was told,
    `block`. A client that comes back with the last id that it got misses nothing and gets nothing twice; other
    filters may be given then. Values of more than 64 KiB are omitted: ask /events?txId= for them. A client that is
    too slow gets `lagged`, and the stream ends.
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
    call.services.open_streams.check(request)
    return _Stream(call, request, selection, position).serve


def _check_position(position: int, call: ChannelCall) -> None:
    """Raises `ProblemError` if a stream cannot begin there."""
    snapshot = call.snapshot
    if position > block_start(snapshot.height):
        raise ProblemError(
            409,
            "replay-ahead",
            "Replay ahead",
            f"The stream was left at {position_id(position)}, and the height is {snapshot.height}: the ledger is being "
            "indexed anew, or this server is behind another one.",
            "Try again later, or read the lists and open a new stream without Last-Event-ID.",
            height=snapshot.height,
        )
    lowest = snapshot.height - call.services.options.replay_blocks
    if snapshot.first is not None:
        lowest = max(lowest, int(snapshot.first["number"]))
    if block_at(position) < lowest:
        raise ProblemError(
            409,
            "replay-too-old",
            "Replay too old",
            f"The stream was left at {position_id(position)}; streams can be resumed from block {lowest} on.",
            "Read the lists up to now, and open a new stream without Last-Event-ID.",
            height=snapshot.height,
        )


def _last_position(call: ChannelCall, request: web.Request) -> int | None:
    """Where the client left off. A browser's own EventSource comes back with the header, and with its first query."""
    values = request.headers.getall("Last-Event-ID", [])
    if not values:
        return call.query.get(LAST_EVENT_ID)
    given = ", ".join(values)
    try:
        return read_position(given)
    except ValueError:
        raise invalid_parameter("Last-Event-ID", given, _POSITION) from None


class _Stream:
    """One client: what it wants, and the position up to which it has that."""

    def __init__(
        self, call: ChannelCall, request: web.Request, selection: Selection, position: int
    ) -> None:
        self._call, self._request, self._selection, self._position = (
            call,
            request,
            selection,
            position,
        )
        self._feed, self._open_streams = (
            call.services.feeds.of(call.channel),
            call.services.open_streams,
        )
        self._limits = FIRST_LIMITS
        self._news = asyncio.Event()
        self._ping_due = False

    async def serve(self) -> web.StreamResponse:
        """Sends messages until the client is gone or too slow, or the stream must end."""
        general = self._request[HEADERS]
        headers = {**general, **self._call.snapshot.headers, **_HEADERS}
        if self._request.method == "HEAD":
            return web.StreamResponse(headers=headers)
        connection = StreamConnection(self._request, headers)
        try:
            await connection.open()
            await self._send_all(connection)
            await connection.close()
        except SlowClientError:
            self._open_streams.lagged()
        except ConnectionError:
            pass  # the client went away
        except Exception:  # the last resort: what is an answer already cannot become a problem
            log.exception("stream_failed", request_id=headers["X-Request-ID"])
            connection.abort()
        return connection.response

    async def _send_all(self, connection: StreamConnection) -> None:
        """Sends until something ends the stream; the client then comes back with its last position."""
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(None) as scope:

                def end() -> None:
                    if not scope.expired():
                        scope.reschedule(loop.time())

                with (
                    self._open_streams.opened(self._request, end),
                    self._feed.subscribed(Subscription(self._news, end)),
                    self._pinging(),
                ):
                    await self._send_messages(connection)
        except ProblemError:
            return  # MongoDB is away
        except ChainReplacedError:
            return
        except TimeoutError:
            if not scope.expired():
                raise

    @contextmanager
    def _pinging(self) -> Iterator[None]:
        """Makes a ping due now and then; the first at any time, so that not all streams have theirs at once."""
        loop = asyncio.get_running_loop()

        def due() -> None:
            self._ping_due = True
            self._news.set()
            timers[0] = loop.call_later(PING_S, due)

        timers = [loop.call_later(random.uniform(0, PING_S), due)]  # noqa: S311 - no secret
        try:
            yield
        finally:
            timers[0].cancel()

    async def _send_messages(self, connection: StreamConnection) -> None:
        await connection.send(_greeting(self._position, self._call.snapshot))
        feed, was_live = self._feed, False
        while feed.is_of(self._call.snapshot.chain):
            self._news.clear()
            if self._ping_due:
                self._ping_due = False
                await connection.send(ping(self._position))
            elif feed.start is None or self._position >= feed.end:
                await self._news.wait()
            elif self._position >= feed.start:
                was_live = True
                await self._send(connection, *feed.following(self._position, self._selection))
            elif was_live:
                await connection.send(_lagged(self._position, feed.start))
                self._open_streams.lagged()
                return
            else:
                await self._send(connection, *await self._history(connection))

    async def _send(self, connection: StreamConnection, data: bytes, position: int) -> None:
        if data:
            await connection.send(data)
        self._position = position

    async def _history(self, connection: StreamConnection) -> tuple[bytes, int]:
        """What the feed does not have any more; pings meanwhile, since many may wait for their turn."""
        reading = asyncio.create_task(self._read_history())
        try:
            while not (await asyncio.wait([reading], timeout=PING_S))[0]:
                await connection.send(ping(self._position))
            return reading.result()
        finally:
            reading.cancel()

    async def _read_history(self) -> tuple[bytes, int]:
        channel = self._call.channel
        snapshot = channel.watch.latest or self._call.snapshot
        lowest = block_start(int(snapshot.first["number"])) if snapshot.first is not None else 0
        chunk = await self._call.services.replays.chunk(
            channel.reader,
            snapshot.chain,
            self._selection,
            start=max(
                self._position, lowest
            ),  # a ledger that was empty when the stream began may begin anywhere
            height=snapshot.height,
            limits=self._limits,
        )
        self._limits = chunk.limits
        return chunk.beyond(self._position, EVERYTHING), chunk.end


def _greeting(position: int, snapshot: HeadSnapshot) -> bytes:
    state = snapshot.sync.state if snapshot.sync is not None else None
    body = StreamState(snapshot.height, snapshot.peer_height, snapshot.lag_blocks, state)
    return b"retry: %d\n" % _RETRY_MS + server_sent("state", position, body)


def _lagged(position: int, kept_from: int) -> bytes:
    return server_sent("lagged", position, Lagged(position_id(position), position_id(kept_from)))
