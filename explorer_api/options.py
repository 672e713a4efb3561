"""The options of the service: those of the operator, and limits that only tests change."""

from pathlib import Path
from typing import Final

from msgspec import Struct

DEFAULT_CACHE_BYTES: Final = 64 << 20


class Options(Struct, frozen=True, kw_only=True):
    """The options that an operator can set. Times are in seconds, sizes in bytes."""

    seconds_per_request: float = 5.0
    """A request that takes longer is answered with 503; streams have no limit."""
    head_age_s: float = 2.0
    """The maximal age of the head that a response is made from. The head is read twice in this
    time, and at once after a notification."""
    sample_s: float = 10.0
    """The interval between the samples of the status history."""
    cache_bytes: int = DEFAULT_CACHE_BYTES
    """The size of the responses that are cached in memory, their compressed forms included."""
    requests_per_minute: int | None = None
    """The limit for one client address and one route; None for no limit."""
    token_digests: frozenset[bytes] = frozenset()
    """The SHA-256 digests of the valid bearer tokens; if empty, requests need no token."""
    cors_origins: frozenset[str] = frozenset()
    """The origins whose pages may read this API; `*` for all."""
    trusted_proxies: tuple[str, ...] = ()
    """The networks whose `X-Forwarded-For` is trusted, such as `10.0.0.0/8`."""
    connections: int = 10_256
    """The maximal number of open connections in this process; further ones are closed. It must be
    some hundreds below the limit of open files."""
    streams: int = 10_000
    """The maximal number of open streams in this process; further ones are answered with 429."""
    streams_per_client: int | None = None
    """The maximal number of open streams from one client address; None for no limit."""
    stream_buffer_bytes: int = 32 << 20
    """The size of the messages that are held for the streams of a channel. The stream of a client
    that falls further behind ends with a message that says so."""
    archive_folder: Path | None = None
    """The folder with the archives of raw blocks, one folder for each database in it; None if raw
    blocks are kept in MongoDB."""
    replay_blocks: int = 100_000
    """The number of blocks below the head from which a stream can be resumed; the response to a
    request that resumes it further below is 409."""


class ChunkLimits(Struct, frozen=True, kw_only=True):
    """The size of the chunks in which a stream's messages are read from MongoDB."""

    max_bytes: int = 1 << 16
    """The size of the messages of a chunk, approximately."""
    first_documents: int = 100
    """The number of documents of each kind that are read for the first chunk."""
    max_documents: int = 500
    """The maximal number of documents of each kind that are read for a chunk."""


class StreamLimits(Struct, frozen=True, kw_only=True):
    """Intervals and limits of streams."""

    ping_s: float = 15.0
    """The interval between pings."""
    write_timeout_s: float = 30.0
    """A client that reads nothing for so long is disconnected."""
    read_timeout_s: float = 10.0
    """The time limit for reading a chunk of new messages."""
    max_retry_delay_s: float = 1.0
    """The longest pause before a failed reading of new messages is repeated."""
    recent_blocks: int = 50
    """The number of blocks below the head whose messages are read for clients that reconnect."""
    recent_transactions: int = 1000
    """The maximal number of transactions in these blocks."""
    chunks: ChunkLimits = ChunkLimits()


class ServiceLimits(Struct, frozen=True, kw_only=True):
    """Intervals and limits that suit every deployment; tests use shorter ones."""

    discovery_s: float = 2.0
    """The minimal interval between searches for new channels."""
    redis_pause_s: float = 2.0
    """The time without calls of Redis after a failed call."""
    notification_retry_s: float = 1.0
    """The pause before a lost subscription to head notifications is renewed."""
    notification_silence_s: float = 10.0
    """A subscription to Redis that is silent for so long is checked."""
    channel_cache_s: float = 1.0
    """The time for which a response with a channel's state is cached; the daemon reports the state
    as often."""
    idle_connection_s: float = 75.0
    """A connection without a complete request for so long is closed."""
    unresponsive_client_s: float = 60.0
    """A client that acknowledges no data for so long loses its connection."""
    unsent_bytes: int = 128 << 20
    """The maximal total size of large responses that wait for slow clients; beyond it, the
    connection of the response that has waited longest is closed."""
    evidence_threads: int = 2
    """The number of evidence bundles that are made at the same time."""
    evidence_block_bytes: int = 32 << 20
    """The maximal total size of the blocks of an evidence bundle; commands make larger ones."""
    streams: StreamLimits = StreamLimits()
