"""The connection to Redis as configured."""

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from cli.configuration.redaction import unusable_address
from cli.errors import ConfigurationError

_REDIS_CALL_S = 1.0


def redis_client(url: str) -> Redis:
    """A client with time limits, connected when it is first used. Raises `ConfigurationError` for no usable address."""
    try:
        return Redis.from_url(
            url,
            socket_timeout=_REDIS_CALL_S,
            socket_connect_timeout=_REDIS_CALL_S,
            retry=Retry(NoBackoff(), 0),  # the caller tries again, and knows for how long
        )
    except ValueError as error:
        raise ConfigurationError(f"redis.url: {unusable_address(url, error)}") from error
