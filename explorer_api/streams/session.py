"""Sends one stream: the messages that the client selected, from a position on."""

import asyncio
import random
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

import structlog
from aiohttp import web

from explorer_api.http.problems import ProblemError
from explorer_api.live.channels import Channel
from explorer_api.live.heads import HeadSnapshot
from explorer_api.options import StreamLimits
from explorer_api.schemas.stream import Lagged, StreamState
from explorer_api.streams.chunks import ChainReplacedError, first_counts
from explorer_api.streams.connection import SlowClientError, StreamConnection
from explorer_api.streams.feed import Feed, Subscription
from explorer_api.streams.messages import EVERYTHING, Selection, ping, server_sent_event
from explorer_api.streams.open_streams import OpenStreams
from explorer_api.streams.positions import block_start, position_id
from explorer_api.streams.replays import Replays

log = structlog.get_logger()

_RECONNECT_MS: Final = 2000
"""A client that is disconnected should wait so long before it reconnects."""


@dataclass(frozen=True, kw_only=True)
class StreamSource:
    """The parts of the service that a stream needs, and the head when the request arrived."""

    channel: Channel
    snapshot: HeadSnapshot
    feed: Feed
    replays: Replays
    open_streams: OpenStreams
    limits: StreamLimits


class StreamSession:
    """The stream of one client: what it selected, and the position up to which it has messages."""

    def __init__(
        self,
        source: StreamSource,
        request: web.Request,
        headers: Mapping[str, str],
        selection: Selection,
        position: int,
    ) -> None:
        self._source, self._request, self._headers = source, request, headers
        self._selection, self._position = selection, position
        self._feed, self._limits = source.feed, source.limits
        self._counts = first_counts(source.limits.chunks)
        self._wake_up = asyncio.Event()
        self._ping_due = False

    async def send(self) -> web.StreamResponse:
        """Send messages until the client disconnects, is too slow, or the stream must end."""
        if self._request.method == "HEAD":
            return web.StreamResponse(headers=self._headers)
        connection = StreamConnection(self._request, self._headers, self._limits.write_timeout_s)
        try:
            await connection.open()
            await self._send_until_end(connection)
            await connection.close()
        except SlowClientError:
            self._source.open_streams.count_lagged()
        except ConnectionError:
            pass  # the client disconnected
        except Exception:  # the response has begun, so that it cannot become a problem any more
            log.exception("stream_failed", request_id=self._headers["X-Request-ID"])
            connection.abort()
        return connection.response

    async def _send_until_end(self, connection: StreamConnection) -> None:
        """Send messages until something ends the stream; the client can then resume it."""
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(None) as scope:

                def end() -> None:
                    if not scope.expired():
                        scope.reschedule(loop.time())

                with (
                    self._source.open_streams.opened(self._request, end),
                    self._feed.subscribed(Subscription(self._wake_up, end)),
                    self._pings(),
                ):
                    await self._send_messages(connection)
        except (ProblemError, ChainReplacedError):
            return  # MongoDB is unavailable, or the chain was replaced
        except TimeoutError:
            if not scope.expired():
                raise

    @contextmanager
    def _pings(self) -> Iterator[None]:
        """Make a ping due at regular intervals while the context lasts.

        The first interval has a random length, so that streams are not all pinged at once.
        """
        loop = asyncio.get_running_loop()

        def make_ping_due() -> None:
            self._ping_due = True
            self._wake_up.set()
            self._ping_timer = loop.call_later(self._limits.ping_s, make_ping_due)

        first_interval_s = random.uniform(0, self._limits.ping_s)  # noqa: S311 - no secret
        self._ping_timer = loop.call_later(first_interval_s, make_ping_due)
        try:
            yield
        finally:
            self._ping_timer.cancel()

    async def _send_messages(self, connection: StreamConnection) -> None:
        snapshot = self._source.snapshot
        await connection.send(_first_message(self._position, snapshot))
        feed, was_live = self._feed, False
        while feed.may_be_of(snapshot.chain):
            self._wake_up.clear()
            if self._ping_due:
                self._ping_due = False
                await connection.send(ping(self._position))
            elif feed.start is None or self._position >= feed.end:
                await self._wake_up.wait()
            elif self._position >= feed.start:
                was_live = True
                await self._send_piece(connection, *feed.read(self._position, self._selection))
            elif was_live:
                await connection.send(_lagged_message(self._position, feed.start))
                self._source.open_streams.count_lagged()
                return
            else:
                await self._send_piece(connection, *await self._replay(connection))

    async def _send_piece(self, connection: StreamConnection, data: bytes, position: int) -> None:
        if data:
            await connection.send(data)
        self._position = position

    async def _replay(self, connection: StreamConnection) -> tuple[bytes, int]:
        """Return messages that are older than those of the feed, and the position after them.

        Send pings meanwhile: many streams may wait for their turn.
        """
        reading = asyncio.create_task(self._read_replay())
        try:
            while not (await asyncio.wait([reading], timeout=self._limits.ping_s))[0]:
                await connection.send(ping(self._position))
            return reading.result()
        finally:
            reading.cancel()

    async def _read_replay(self) -> tuple[bytes, int]:
        channel = self._source.channel
        snapshot = channel.watch.latest or self._source.snapshot
        first_stored = 0  # a ledger that was empty when the stream began can begin at any block
        if snapshot.first is not None:
            first_stored = block_start(int(snapshot.first["number"]))
        chunk = await self._source.replays.chunk(
            channel.reader,
            snapshot.chain,
            self._selection,
            start=max(self._position, first_stored),
            height=snapshot.height,
            counts=self._counts,
        )
        self._counts = chunk.next_counts
        return chunk.select(self._position, EVERYTHING), chunk.end


def _first_message(position: int, snapshot: HeadSnapshot) -> bytes:
    state = snapshot.sync.state if snapshot.sync is not None else None
    body = StreamState(
        snapshot.height, snapshot.agreed_height, snapshot.peer_height, snapshot.lag_blocks, state
    )
    return b"retry: %d\n" % _RECONNECT_MS + server_sent_event("state", position, body)


def _lagged_message(position: int, kept_from: int) -> bytes:
    body = Lagged(position_id(position), position_id(kept_from))
    return server_sent_event("lagged", position, body)
