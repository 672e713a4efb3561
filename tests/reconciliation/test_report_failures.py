"""Reports while PostgreSQL fails: calls fail in time, and work again when PostgreSQL does."""

import asyncio
import time
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from structlog.testing import capture_logs

from cli.assembly.business_reports import business_reports
from cli.configuration.settings import Settings
from cli.errors import ConfigurationError
from devnet.servers import Postgres, PostgresReplica
from reconciliation.migrations.migrator import Migrator
from reconciliation.migrations.scripts import load_migrations
from reconciliation.postgres_reports import REPORT_POOL_OPTIONS
from reconciliation.postgres_servers import PostgresServers
from reconciliation.reports import DiscrepancyState
from tests.eventually import eventually
from tests.reconciliation.growing_ledger import CHANNEL
from tests.reconciliation.report_readers import (
    AT_ONCE_S,
    ID,
    error_message,
    is_available,
    reports_from,
)

pytestmark = [
    pytest.mark.usefixtures("close_broken_connections"),
    pytest.mark.filterwarnings(
        "ignore:unclosed <socket:ResourceWarning"
    ),  # of interrupted attempts to connect
]

PAUSE_S = 1.1
"""A little more than the pause after a failure."""
STOPPED_WITHIN_S = 4.0
"""Less than the timeout of the connections' orderly end."""


@pytest.fixture
def closed_dsn() -> str:
    """Return an address at which no server listens."""
    return "postgresql://someone:hunter2@127.0.0.1:1/shop"


async def test_the_connections_cannot_write(indexer_dsn: str) -> None:
    """The daemon's own user cannot write by them either."""
    async with (
        PostgresServers(indexer_dsn, (), REPORT_POOL_OPTIONS) as servers,
        servers.report_connection() as connection,
    ):
        for _ in range(2):
            with pytest.raises(asyncpg.ReadOnlySQLTransactionError):
                await connection.execute(
                    "INSERT INTO ledger_cursor (channel, height, block_hash) VALUES ('x', 0, '')"
                )
            await connection.reset()


async def test_the_channel_of_the_reports_comes_from_the_configuration(closed_dsn: str) -> None:
    async def channel(**settings: Any) -> str | None:
        async with business_reports(Settings.model_validate(settings)) as reports:
            return reports.channel if reports is not None else None

    postgres = {"dsn": closed_dsn}
    assert await channel(channels={CHANNEL: {}}) is None
    assert await channel(reconcile={"channel": "a"}) is None
    assert await channel(postgres=postgres, channels={CHANNEL: {}}) == CHANNEL
    assert await channel(postgres=postgres, reconcile={"channel": "a"}) == "a"
    with pytest.raises(ConfigurationError, match=r"reconcile\.channel"):
        await channel(postgres=postgres)


async def test_messages_name_no_server_and_no_user(
    closed_dsn: str, reporter_dsn: str, postgres_dsn: str
) -> None:
    wrong_password = reporter_dsn.replace("@", "hunter2@")
    not_migrated = postgres_dsn
    for dsn in (closed_dsn, wrong_password, not_migrated):
        async with reports_from(dsn) as reports:
            message = await error_message(reports.rows([ID]))
            assert await error_message(reports.status(), AT_ONCE_S) == message
        assert message in {
            "PostgreSQL cannot be reached.",
            "PostgreSQL refuses to show the business rows; the program's log says why.",
        }


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Yield a PostgreSQL of the module's own, with the business schema."""
    with Postgres(tmp_path_factory.mktemp("postgres") / "primary") as server:
        asyncio.run(migrate(server))
        yield server


async def migrate(server: Postgres) -> None:
    connection = await asyncpg.connect(server.dsn)
    await Migrator(connection, load_migrations(), lambda _: None, program="tests").up()
    await connection.close()


async def test_calls_work_again_after_postgresql_was_unavailable(server: Postgres) -> None:
    dsn = server.dsn
    server.stop()
    async with reports_from(dsn) as reports:
        assert await error_message(reports.rows([ID])) == "PostgreSQL cannot be reached."
        await asyncio.to_thread(server.start)
        await eventually(lambda: is_available(reports))
        await reports.check()
        await asyncio.to_thread(server.kill)
        await error_message(reports.check())
        discrepancies = reports.discrepancies(None, DiscrepancyState.OPEN, None, 50)
        await error_message(discrepancies, AT_ONCE_S)
        await asyncio.to_thread(server.start)
        await eventually(lambda: is_available(reports))


async def test_a_hung_postgresql_delays_the_first_calls_only(
    server: Postgres,
) -> None:
    async with reports_from(server.dsn) as reports:
        await asyncio.gather(*(reports.check() for _ in range(8)))
        server.pause()
        try:
            messages = await asyncio.gather(*(error_message(reports.rows([ID])) for _ in range(12)))
            assert set(messages) == {"PostgreSQL does not answer in time."}
            await error_message(reports.rows([ID]), AT_ONCE_S)
            await asyncio.sleep(PAUSE_S)
            trial = asyncio.create_task(error_message(reports.rows([ID])))
            await asyncio.sleep(0.1)
            await error_message(reports.rows([ID]), AT_ONCE_S)  # one trial at a time
            trial.cancel()  # as if the client went away
            await asyncio.wait((trial,))
        finally:
            server.resume()
        await eventually(lambda: is_available(reports))
        server.pause()
        began = time.monotonic()
    stopped_after_s = time.monotonic() - began
    server.resume()
    assert stopped_after_s < STOPPED_WITHIN_S, "the end does not wait for an answer"


async def test_a_statement_that_takes_too_long_ends_on_the_server(server: Postgres) -> None:
    """Other calls work meanwhile."""
    owner = await asyncpg.connect(server.dsn)
    async with reports_from(server.dsn) as reports, owner.transaction():
        await reports.rows([ID])
        await owner.execute("LOCK TABLE ledger_discrepancies")
        assert await error_message(reports.status()) == "PostgreSQL does not answer in time."
        await reports.rows([ID])
    await owner.close()


async def test_a_call_that_waits_too_long_for_a_lock_is_logged_and_so_is_its_end(
    server: Postgres,
) -> None:
    owner = await asyncpg.connect(server.dsn)
    with capture_logs() as logs:
        async with reports_from(server.dsn) as reports:
            async with owner.transaction():
                await owner.execute("LOCK TABLE ledger_discrepancies")
                await error_message(reports.status())
            await reports.status()
            await reports.status()
    await owner.close()
    assert [entry["event"] for entry in logs] == [
        "business_database_unavailable",
        "business_database_available",
    ]


@pytest.mark.long
async def test_a_hung_replica_is_skipped(server: Postgres, tmp_path: Path) -> None:
    with PostgresReplica(tmp_path / "replica", server) as replica:
        async with reports_from(server.dsn, replica.dsn) as reports:
            await asyncio.sleep(3.0)  # until the lag of the replica is measured
            await reports.rows([ID])
            replica.pause()
            try:
                await error_message(reports.rows([ID]))
                await eventually(lambda: is_available(reports))
            finally:
                replica.resume()
