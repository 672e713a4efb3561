"""The connection to Redis as configured."""

from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from cli.configuration.redaction import unusable_address
from cli.configuration.server_settings import RedisSettings
from cli.errors import ConfigurationError

_CALL_TIMEOUT_S = 1.0


def redis_client(url: str) -> Redis:
    """Return a client with time limits, which connects at its first call.

    Raises `ConfigurationError` if the address cannot be used.
    """
    try:
        return Redis.from_url(
            url,
            socket_timeout=_CALL_TIMEOUT_S,
            socket_connect_timeout=_CALL_TIMEOUT_S,
            retry=Retry(NoBackoff(), 0),  # the callers retry
        )
    except ValueError as error:
        raise ConfigurationError(f"redis.url: {unusable_address(url, error)}") from error


@asynccontextmanager
async def configured_redis(settings: RedisSettings) -> AsyncIterator[Redis | None]:
    """Yield a client for the configured address, or None if none is configured."""
    url = settings.reveal()
    if url is None:
        yield None
        return
    async with aclosing(redis_client(url)) as client:
        yield client
