"""The cursor of one channel in PostgreSQL, and the transactions that hold its lock.

Rows are settled, and discrepancies recorded, only in a transaction that holds the lock. So two
daemons never settle at the same time, and the cursor always agrees with the settled rows.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final, TypeVar

import asyncpg
from msgspec import Struct

from ledger.position import BlockNumber, Height
from reconciliation.connection import Connection
from reconciliation.errors import ReconciliationError, is_lock_conflict
from runtime.backoff import Backoff
from runtime.retry import retry

T = TypeVar("T")

_MAX_TRIES: Final = 5
_SHORT_LOCK_TIMEOUT = "SET LOCAL lock_timeout = '100ms'"
_CHECK_CONSTRAINTS_AT_ONCE = "SET CONSTRAINTS ALL IMMEDIATE"
_SELECT = "SELECT height, block_hash, audited_height FROM ledger_cursor WHERE channel = $1"
_CREATE = """
INSERT INTO ledger_cursor (channel, height, block_hash, audited_height) VALUES ($1, $2, '', $2)
ON CONFLICT DO NOTHING
"""
_MOVE = """
UPDATE ledger_cursor
SET height = $2, block_hash = $3, unusable_ids = unusable_ids + $4, updated_at = now()
WHERE channel = $1
"""
_SET_AUDITED_HEIGHT = """
UPDATE ledger_cursor SET audited_height = $2, updated_at = now() WHERE channel = $1
"""
_LOWER = """
UPDATE ledger_cursor
SET height = $2, block_hash = $3, audited_height = least(audited_height, $2), updated_at = now()
WHERE channel = $1 AND height > $2
"""


class SettlementCursor(Struct, frozen=True):
    """How far the rows of a channel are settled: every block below `height`.

    `block_hash` is the hash of the last of these blocks. Every transaction below `audited_height`
    was searched for in the rows.
    """

    height: Height
    block_hash: str
    audited_height: Height


@dataclass(frozen=True)
class LockedCursor:
    """A transaction that holds the lock on the cursor."""

    connection: Connection
    channel: str
    cursor: SettlementCursor
    wait_for_locks: bool
    """Whether to wait for rows that other transactions have locked, or to omit them."""

    async def move(self, height: Height, block_hash: str, unusable_ids: int) -> None:
        """Move the cursor to `height`, and add to the number of unusable ids."""
        await self.connection.execute(_MOVE, self.channel, height, block_hash, unusable_ids)

    async def set_audited_height(self, height: Height) -> None:
        """Note that every transaction below `height` was searched for in the rows."""
        await self.connection.execute(_SET_AUDITED_HEIGHT, self.channel, height)


class ChannelCursor:
    """The cursor of one channel. Every method is safe to repeat after a failure."""

    def __init__(self, pool: "asyncpg.Pool[asyncpg.Record]", channel: str) -> None:
        self._pool, self._channel = pool, channel

    async def create(self, start: BlockNumber) -> None:
        """Create the cursor at block `start`, unless it exists."""
        await self._pool.execute(_CREATE, self._channel, start)

    async def read(self) -> SettlementCursor:
        """Return the cursor. Raises `ReconciliationError` if it was deleted."""
        async with self._pool.acquire() as connection:
            return await self._select(connection)

    async def lower(self, height: Height, block_hash: str) -> bool:
        """Move the cursor down to `height`, because the stored blocks above were cut off.

        `block_hash` is the hash of the last block below. Rows are not changed: those that name a
        transaction that is gone become discrepancies when they are compared. Return whether the
        cursor was higher.
        """
        done: str = await self._pool.execute(_LOWER, self._channel, height, block_hash)
        return done == "UPDATE 1"

    async def locked(self, work: Callable[[LockedCursor], Awaitable[T]]) -> T:
        """Do the work in a transaction that holds the lock, and return its result.

        After a lock conflict the work is repeated without the rows that other transactions have
        locked.
        """
        tries = 0

        async def attempt() -> T:
            nonlocal tries
            tries += 1
            first = tries == 1
            async with self._pool.acquire() as connection, connection.transaction():
                cursor = await self._select(connection, " FOR UPDATE")
                await connection.execute(
                    _CHECK_CONSTRAINTS_AT_ONCE
                    if first
                    else f"{_CHECK_CONSTRAINTS_AT_ONCE}; {_SHORT_LOCK_TIMEOUT}"
                )
                return await work(LockedCursor(connection, self._channel, cursor, first))

        return await retry(
            attempt,
            is_transient=lambda error: is_lock_conflict(error) and tries < _MAX_TRIES,
            backoff=Backoff(initial=0.1, maximum=1.0),
        )

    async def _select(self, connection: Connection, lock: str = "") -> SettlementCursor:
        record = await connection.fetchrow(_SELECT + lock, self._channel)
        if record is None:
            raise ReconciliationError(
                f"the row of channel {self._channel} in ledger_cursor was deleted: "
                "rows are settled again from the start block"
            )
        return SettlementCursor(*record)
