"""What the API shows of the business database, as configured."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from msgspec.structs import replace

from cli.assembly.postgres import primary_dsn, replica_dsns
from cli.assembly.reconciliation import mapping_of, reconciled_channel
from cli.configuration.settings import ChannelSettings, Settings
from reconciliation.postgres_reports import READING, PostgresReports
from reconciliation.postgres_servers import PostgresServers
from reconciliation.reports import BusinessReports


@asynccontextmanager
async def business_reports(settings: Settings) -> AsyncIterator[BusinessReports | None]:
    """The books to read; None where no business database is configured. Nothing is connected before it is asked.

    Raises `ConfigurationError` for addresses that cannot be used, or where it is not clear which channel is meant.
    """
    channel = _channel(settings)
    if channel is None:
        yield None
        return
    bounds = replace(READING, replica_lag_s=settings.postgres.replica_lag_s)
    async with PostgresServers(
        primary_dsn(settings.postgres), replica_dsns(settings.postgres), bounds
    ) as servers:
        watching = asyncio.create_task(servers.watch())
        try:
            yield PostgresReports(
                servers, channel, mapping_of(settings.reconcile), settings.reconcile.grace_s
            )
        finally:
            watching.cancel()
            servers.abort()  # nobody reads any more, and a server that hangs is not waited for
            await asyncio.gather(watching, return_exceptions=True)


def _channel(settings: Settings) -> str | None:
    """The API alone needs no [channels] to show what is stored: then `reconcile.channel` is taken at its word."""
    named = settings.reconcile.channel
    if named is not None and not settings.channels:
        settings = settings.model_copy(update={"channels": {named: ChannelSettings()}})
    return reconciled_channel(settings)
