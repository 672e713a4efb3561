"""The demo's business database: creates it, and logs regularly how many of its rows are settled."""

import asyncio
import secrets
from typing import Final

import asyncpg
import structlog

from cli.output.console import messages
from cli.version import PROGRAM
from reconciliation.migrations.migrator import Migrator
from reconciliation.migrations.scripts import load_migrations

log = structlog.get_logger()

_DATABASE: Final = "kindledger"
_DAEMON_USER: Final = "kindledger_demo"
_LOG_INTERVAL_S: Final = 10.0
_COUNTS: Final = """
SELECT count(*) FILTER (WHERE status = 'CONFIRMED') AS confirmed,
       count(*) FILTER (WHERE status = 'FAILED') AS failed,
       count(*) FILTER (WHERE status = 'PENDING') AS waiting,
       (SELECT count(*) FROM ledger_discrepancies WHERE closed_at IS NULL) AS discrepancies
FROM (SELECT status FROM transactions UNION ALL SELECT status FROM donations) AS rows
"""


async def prepare_business_database(server_dsn: str) -> tuple[str, str]:
    """Create the database with KindLedger's schema, and a user with the daemon's role only.

    Return the address for the applications, which own the database, and the address for the daemon.
    """
    server = server_dsn.rpartition("/")[0]
    connection = await asyncpg.connect(server_dsn)
    try:
        if not await connection.fetchval(
            "SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1)", _DATABASE
        ):
            await connection.execute(f"CREATE DATABASE {_DATABASE}")
    finally:
        await connection.close()
    owner_dsn = f"{server}/{_DATABASE}"
    connection = await asyncpg.connect(owner_dsn)
    try:
        await Migrator(connection, load_migrations(), messages.print, program=PROGRAM).up()
        password = secrets.token_hex(16)
        if not await connection.fetchval(
            "SELECT EXISTS (SELECT FROM pg_roles WHERE rolname = $1)", _DAEMON_USER
        ):
            await connection.execute(f"CREATE ROLE {_DAEMON_USER} LOGIN IN ROLE kindledger_indexer")
        await connection.execute(f"ALTER ROLE {_DAEMON_USER} PASSWORD '{password}'")
    finally:
        await connection.close()
    host = server.rpartition("@")[2]
    return owner_dsn, f"postgresql://{_DAEMON_USER}:{password}@{host}/{_DATABASE}"


async def log_business_rows(dsn: str) -> None:
    """Log every few seconds how many rows are settled and how many wait, until cancelled."""
    async with asyncpg.create_pool(dsn, min_size=0, max_size=1) as pool:
        while True:
            await asyncio.sleep(_LOG_INTERVAL_S)
            counts = await pool.fetchrow(_COUNTS)
            log.info("business_rows", **dict(counts or {}))
