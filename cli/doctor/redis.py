"""Checks Redis: address, connection, login and PING."""

from contextlib import aclosing

from redis.asyncio import Redis
from redis.exceptions import AuthenticationError, AuthorizationError, NoPermissionError, RedisError

from cli.configuration.redaction import redact_uri, unusable_address
from cli.configuration.server_settings import RedisSettings
from cli.doctor.checks import (
    Check,
    Details,
    FailedStepError,
    fail_on_configuration_error,
    run_part,
    skipped,
    time_limit,
)
from cli.doctor.network import DNS, TCP, connect, resolve
from cli.errors import Exit

_ADDRESS, _AUTHENTICATION, _PING = "address", "authentication", "ping"


async def check_redis(settings: RedisSettings, limit_s: float) -> list[Check]:
    """Check address, name resolution, connection, login and PING as separate steps."""
    if settings.url is None and settings.url_file is None:
        return [
            skipped("redis", "not configured: caches and head notifications are off (redis.url)")
        ]

    async def probe(details: Details) -> None:
        with fail_on_configuration_error(_ADDRESS, "Correct redis.url_file."):
            url = settings.reveal() or ""
        details |= {_ADDRESS: redact_uri(url), _AUTHENTICATION: "accepted", _PING: "answers"}
        async with aclosing(_client(url)) as client:
            address = client.connection_pool.connection_kwargs
            if "path" in address:
                details[DNS] = details[TCP] = f"local socket {address['path']}"
            else:
                host, port = address.get("host", "localhost"), address.get("port", 6379)
                details[DNS] = await resolve(host, port, limit_s)
                details[TCP] = await connect(host, port, limit_s)
            await _ping(client, limit_s)

    return await run_part("redis", (_ADDRESS, DNS, TCP, _AUTHENTICATION, _PING), probe)


def _client(url: str) -> Redis:
    try:
        return Redis.from_url(url)
    except ValueError as error:
        advice = "Write it as redis://user:password@host:6379/0, or rediss://… for TLS."
        raise FailedStepError(
            _ADDRESS, unusable_address(url, error), advice, Exit.CONFIGURATION
        ) from error


async def _ping(client: Redis, limit_s: float) -> None:
    advice = "Check the port, redis:// (no TLS) or rediss:// (TLS), and that the server responds."
    async with time_limit(_PING, limit_s, advice):
        try:
            await client.ping()
        except (AuthenticationError, AuthorizationError, NoPermissionError) as error:
            advice = (
                "Check user and password in redis.url, and the user's rights; docs/operations.md "
                "lists the needed ACLs."
            )
            raise FailedStepError(
                _AUTHENTICATION, str(error), advice, Exit.CONFIGURATION
            ) from error
        except RedisError as error:
            raise FailedStepError(_PING, str(error), advice, Exit.UNAVAILABLE) from error
