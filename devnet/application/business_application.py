"""Writes business rows into PostgreSQL, in due time, however often it is gone."""

import asyncio
import sys
from collections import deque
from datetime import datetime
from itertools import islice

import asyncpg

from devnet.application.initial_rows import ORGANISATIONS, USERS
from devnet.application.scheduled_rows import (
    CampaignRow,
    DonationHash,
    DonationRow,
    Row,
    ScheduledRow,
    TransactionRow,
    rows_of_block,
)
from devnet.forge.forger import ForgedBlock

_AT_ONCE = 1_000
_MOST_KEPT = 100_000
"""Rows that are kept while PostgreSQL is away: those of about five hours at a block a second. Later ones are lost."""
_RETRY_SECONDS = 1.0
_TIMEOUT_SECONDS = 10.0

_ORGANISATION = """
    INSERT INTO organizations (id, name, type, msp_id) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING"""
_USER = """
    INSERT INTO users (id, username, email, full_name, role, organization_id, msp_id, password_hash)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT DO NOTHING"""
_ROWS: dict[type[Row], str] = {
    CampaignRow: """
        INSERT INTO campaigns (id, name, owner_id, organization_id, goal_amount, created_at, blockchain_tx_hash)
        VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT DO NOTHING""",
    TransactionRow: """
        INSERT INTO transactions (id, tx_hash, campaign_id, transaction_type, amount, from_address, to_address,
            raw_data, created_at, status, block_number, confirmed_at)
        VALUES ($1, $2, (SELECT id FROM campaigns WHERE id = $3), $4, $5, $6, $7, $8, $9, $10, $11, $12)
        ON CONFLICT DO NOTHING""",
    DonationRow: """
        INSERT INTO donations (id, campaign_id, donor_id, donor_name, amount, payment_method, payment_reference,
            donated_at, blockchain_tx_hash)
        SELECT $1, campaigns.id, $3, $4, $5, $6, $7, $8, $9 FROM campaigns WHERE campaigns.id = $2
        ON CONFLICT DO NOTHING""",
    DonationHash: """
        UPDATE donations SET blockchain_tx_hash = $2 WHERE id = $1 AND blockchain_tx_hash IS NULL""",
}
"""How each row is written, in the order in which they need one another; parameters are the row's fields."""


class BusinessApplication:
    """The applications' connection to the database `dsn`, which has KindLedger's schema."""

    def __init__(self, dsn: str) -> None:
        self._dsn = dsn
        self._later: list[ScheduledRow] = []
        self._due: deque[Row] = deque()
        self._entered = asyncio.Event()
        self._failing = False

    def submit(self, block: ForgedBlock, at: datetime) -> None:
        """Take note of the next block, whose transactions are submitted at `at` but not on the chain yet.

        After a restart a block may be entered again: what its rows say by then stays.
        """
        self._later += rows_of_block(block, at)
        if len(self._due) < _MOST_KEPT:
            self._due.extend(entry.row for entry in self._later if entry.due <= block.number)
        self._later = [entry for entry in self._later if entry.due > block.number]
        self._entered.set()

    async def run(self) -> None:
        """Write what is due, until cancelled. When PostgreSQL fails, says so once on stderr and tries again."""
        while True:
            try:
                await self._work()
            except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
                self._complain(error)
                await asyncio.sleep(_RETRY_SECONDS)

    async def _work(self) -> None:
        connection = await asyncpg.connect(
            self._dsn, timeout=_TIMEOUT_SECONDS, command_timeout=_TIMEOUT_SECONDS
        )
        try:
            await connection.executemany(_ORGANISATION, ORGANISATIONS)
            await connection.executemany(_USER, USERS)
            while True:
                while self._due:
                    await self._write(connection)
                self._failing = False
                self._entered.clear()
                await self._entered.wait()
        finally:
            connection.terminate()  # which needs no answer

    async def _write(self, connection: "asyncpg.Connection[asyncpg.Record]") -> None:
        rows = list(islice(self._due, _AT_ONCE))
        async with connection.transaction():
            for kind, statement in _ROWS.items():
                await connection.executemany(
                    statement, [row for row in rows if isinstance(row, kind)]
                )
        for _ in rows:
            self._due.popleft()

    def _complain(self, error: Exception) -> None:
        if not self._failing:
            sys.stderr.write(
                f"business rows cannot be written and are kept until PostgreSQL takes them: {error!r}\n"
            )
        self._failing = True
