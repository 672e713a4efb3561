"""What an operator can choose of the service."""

from typing import Final

from msgspec import Struct

DEFAULT_CACHE_BYTES: Final = 64 << 20


class Options(Struct, frozen=True, kw_only=True):
    """Times in seconds, sizes in bytes."""

    seconds_per_request: float = 5.0
    """After that a request is answered with 503; streams excepted."""
    head_age_s: float = 2.0
    """How old the head may be that an answer is made for. It is read twice as often, and at once when news come."""
    channel_cache_s: float = 1.0
    """How long a response with a channel's state is cached; the daemon reports the state as often."""
    sample_s: float = 10.0
    """How often the history of the service's state is added to."""
    cache_bytes: int = DEFAULT_CACHE_BYTES
    """Of answers kept in memory."""
    requests_per_minute: int | None = None
    """By one client address on one route; None for no limit."""
    token_digests: frozenset[bytes] = frozenset()
    """SHA-256 of the bearer tokens of which a request must have one; none asked for if empty."""
    cors_origins: frozenset[str] = frozenset()
    """Origins whose pages may read this API; `*` for all."""
    trusted_proxies: tuple[str, ...] = ()
    """Networks whose `X-Forwarded-For` is believed, such as `10.0.0.0/8`."""
    connections: int = 10_256
    """Open at once in this process; further ones are closed. To be some hundreds below the limit of open files."""
    streams: int = 10_000
    """Open at once in this process; further ones are answered with 429."""
    streams_per_client: int | None = None
    """From one client address; None for no limit."""
    stream_buffer_bytes: int = 32 << 20
    """Of messages kept for the streams of a channel: a client that falls further behind is told so and closed."""
    replay_blocks: int = 100_000
    """A stream can be resumed so far below the head, else it is answered with 409."""
