"""Assembles the reports that the explorer API reads from the business database."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from msgspec.structs import replace

from cli.assembly.postgres import primary_dsn, replica_dsns
from cli.assembly.reconciliation import configured_mapping, reconciled_channel
from cli.configuration.settings import ChannelSettings, Settings
from reconciliation.postgres_reports import REPORT_POOL_OPTIONS, PostgresReports
from reconciliation.postgres_servers import PostgresServers
from reconciliation.reports import BusinessReports


@asynccontextmanager
async def business_reports(settings: Settings) -> AsyncIterator[BusinessReports | None]:
    """Yield the reports, or None if no business database is configured.

    Connections are opened at the first report. Raises `ConfigurationError` for an address that
    cannot be used, and if the configuration does not say which channel the database belongs to.
    """
    channel = _channel_of_reports(settings)
    if channel is None:
        yield None
        return
    options = replace(REPORT_POOL_OPTIONS, replica_lag_s=settings.postgres.replica_lag_s)
    async with PostgresServers(
        primary_dsn(settings.postgres), replica_dsns(settings.postgres), options
    ) as servers:
        watching = asyncio.create_task(servers.watch_replicas())
        try:
            yield PostgresReports(
                servers, channel, configured_mapping(settings.reconcile), settings.reconcile.grace_s
            )
        finally:
            watching.cancel()
            servers.terminate()  # a server that hangs must not delay the end
            await asyncio.gather(watching, return_exceptions=True)


def _channel_of_reports(settings: Settings) -> str | None:
    """Return the reconciled channel; without [channels], the one that `reconcile.channel` names.

    The API without an indexer shows every stored channel and needs no [channels].
    """
    named = settings.reconcile.channel
    if named is not None and not settings.channels:
        settings = settings.model_copy(update={"channels": {named: ChannelSettings()}})
    return reconciled_channel(settings)
