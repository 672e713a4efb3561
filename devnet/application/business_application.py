"""The simulated business application, which writes its rows to PostgreSQL."""

import asyncio
import sys
from collections import deque
from datetime import datetime
from itertools import islice

import asyncpg

from devnet.application.business_rows import (
    CampaignRow,
    DonationHash,
    DonationRow,
    Row,
    TransactionRow,
)
from devnet.application.initial_rows import ORGANISATIONS, USERS
from devnet.application.scheduled_rows import ScheduledRow, rows_of_block
from devnet.forge.forger import ForgedBlock

_BATCH_ROWS = 1_000
_MAX_QUEUED_ROWS = 100_000
"""The most rows that wait while PostgreSQL is unavailable; rows that follow are lost.

At one block a second the queue is full after about five hours.
"""
_RETRY_S = 1.0
_TIMEOUT_S = 10.0

_INSERT_ORGANISATION = """
    INSERT INTO organizations (id, name, type, msp_id)
    VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING"""
_INSERT_USER = """
    INSERT INTO users
        (id, username, email, full_name, role, organization_id, msp_id, password_hash)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT DO NOTHING"""
_STATEMENTS: dict[type[Row], str] = {
    CampaignRow: """
        INSERT INTO campaigns
            (id, name, owner_id, organization_id, goal_amount, created_at, blockchain_tx_hash)
        VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT DO NOTHING""",
    TransactionRow: """
        INSERT INTO transactions
            (id, tx_hash, campaign_id, transaction_type, amount, from_address, to_address,
             raw_data, created_at, status, block_number, confirmed_at)
        VALUES ($1, $2, (SELECT id FROM campaigns WHERE id = $3), $4, $5, $6, $7, $8, $9, $10,
                $11, $12)
        ON CONFLICT DO NOTHING""",
    DonationRow: """
        INSERT INTO donations
            (id, campaign_id, donor_id, donor_name, amount, payment_method, payment_reference,
             donated_at, blockchain_tx_hash)
        SELECT $1, campaigns.id, $3, $4, $5, $6, $7, $8, $9 FROM campaigns WHERE campaigns.id = $2
        ON CONFLICT DO NOTHING""",
    DonationHash: """
        UPDATE donations SET blockchain_tx_hash = $2
        WHERE id = $1 AND blockchain_tx_hash IS NULL""",
}
"""The statement for each kind of row, in the order in which rows refer to each other."""


class BusinessApplication:
    """Writes the business rows to the database `dsn`, which has KindLedger's schema.

    While PostgreSQL is unavailable it tries again every `retry_s` seconds.
    """

    def __init__(self, dsn: str, *, retry_s: float = _RETRY_S) -> None:
        self._dsn = dsn
        self._retry_s = retry_s
        self._scheduled: list[ScheduledRow] = []
        self._queue: deque[Row] = deque()
        self._submitted = asyncio.Event()
        self._failing = False

    @property
    def queued_rows(self) -> int:
        """The number of rows that are due and not yet written."""
        return len(self._queue)

    def submit(self, block: ForgedBlock, submitted_at: datetime) -> None:
        """Schedule the rows for the next block, which is not on the chain yet.

        After a restart a block may be submitted again: rows that exist by then do not change.
        """
        self._scheduled += rows_of_block(block, submitted_at)
        if len(self._queue) < _MAX_QUEUED_ROWS:
            self._queue.extend(
                scheduled.row
                for scheduled in self._scheduled
                if scheduled.block_number <= block.number
            )
        self._scheduled = [
            scheduled for scheduled in self._scheduled if scheduled.block_number > block.number
        ]
        self._submitted.set()

    async def run(self) -> None:
        """Write rows that are due, until cancelled; report an outage once and try again."""
        while True:
            try:
                await self._write_rows()
            except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
                self._report_failure(error)
                await asyncio.sleep(self._retry_s)

    async def _write_rows(self) -> None:
        connection = await asyncpg.connect(
            self._dsn, timeout=_TIMEOUT_S, command_timeout=_TIMEOUT_S
        )
        try:
            await connection.executemany(_INSERT_ORGANISATION, ORGANISATIONS)
            await connection.executemany(_INSERT_USER, USERS)
            while True:
                while self._queue:
                    await self._write_batch(connection)
                self._failing = False
                self._submitted.clear()
                await self._submitted.wait()
        finally:
            connection.terminate()  # unlike close(), it does not wait for the server

    async def _write_batch(self, connection: "asyncpg.Connection[asyncpg.Record]") -> None:
        batch = list(islice(self._queue, _BATCH_ROWS))
        async with connection.transaction():
            for kind, statement in _STATEMENTS.items():
                rows_of_kind = [row for row in batch if isinstance(row, kind)]
                await connection.executemany(statement, rows_of_kind)
        for _ in batch:
            self._queue.popleft()

    def _report_failure(self, error: Exception) -> None:
        if not self._failing:
            sys.stderr.write(
                "Business rows cannot be written to PostgreSQL. They are kept in memory, and "
                f"writing is tried again every {self._retry_s:g} s: {error!r}\n"
            )
        self._failing = True
