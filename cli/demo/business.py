"""The demo's business side: its database, and a line now and then that says how its rows stand."""

import asyncio
import secrets
from typing import Final

import asyncpg
import structlog

from cli.output.console import messages
from reconciliation.migrations.migrator import Migrator
from reconciliation.migrations.scripts import load_migrations

log = structlog.get_logger()

_DATABASE: Final = "kindledger"
_DAEMON: Final = "kindledger_demo"
_EVERY_S = 10.0
_STATES = """
SELECT count(*) FILTER (WHERE status = 'CONFIRMED') AS confirmed, count(*) FILTER (WHERE status = 'FAILED') AS failed,
       count(*) FILTER (WHERE status = 'PENDING') AS waiting,
       (SELECT count(*) FROM ledger_discrepancies WHERE closed_at IS NULL) AS discrepancies
FROM (SELECT status FROM transactions UNION ALL SELECT status FROM donations) AS rows
"""


async def prepare_business(server_dsn: str, program: str) -> tuple[str, str]:
    """Makes the database with KindLedger's schema, and a user who has the daemon's role and no more.

    Returns the addresses for the applications, who own the database, and for the daemon.
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
    owner = f"{server}/{_DATABASE}"
    connection = await asyncpg.connect(owner)
    try:
        await Migrator(connection, load_migrations(), messages.print, program=program).up()
        password = secrets.token_hex(16)
        if not await connection.fetchval(
            "SELECT EXISTS (SELECT FROM pg_roles WHERE rolname = $1)", _DAEMON
        ):
            await connection.execute(f"CREATE ROLE {_DAEMON} LOGIN IN ROLE kindledger_indexer")
        await connection.execute(f"ALTER ROLE {_DAEMON} PASSWORD '{password}'")
    finally:
        await connection.close()
    return owner, f"postgresql://{_DAEMON}:{password}@{server.rpartition('@')[2]}/{_DATABASE}"


async def tell(dsn: str) -> None:
    """Says every few seconds how the rows stand, until cancelled."""
    async with asyncpg.create_pool(dsn, min_size=0, max_size=1) as pool:
        while True:
            await asyncio.sleep(_EVERY_S)
            states = await pool.fetchrow(_STATES)
            log.info("business_rows", **dict(states or {}))
