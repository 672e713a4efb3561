"""What has been done to a schema, as it is recorded there, and what is wrong with that."""

from collections.abc import Iterator, Sequence
from datetime import datetime
from enum import StrEnum
from typing import TypeAlias

import asyncpg
from asyncpg.pool import PoolConnectionProxy
from msgspec import Struct

from reconciliation.migrations.scripts import Migration

Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record] | PoolConnectionProxy[asyncpg.Record]"

TABLE = "kindledger_migrations"


class MigrationState(StrEnum):
    """Where a migration stands. Only one that runs without a transaction is ever seen as running."""

    PENDING = "pending"
    RUNNING = "running"
    APPLIED = "applied"


class MigrationRecord(Struct, frozen=True):
    """A migration that was begun, by which version of the program."""

    version: int
    name: str
    checksum: str
    state: MigrationState
    started_at: datetime
    finished_at: datetime | None
    program: str

    @property
    def label(self) -> str:
        """See `Migration.label`."""
        return f"{self.version:04}_{self.name}"


async def read_history(connection: Connection) -> dict[int, MigrationRecord]:
    """What is recorded, by version; nothing where nobody has migrated yet."""
    if await connection.fetchval("SELECT to_regclass($1)", TABLE) is None:
        return {}
    rows = await connection.fetch(
        "SELECT version, name, checksum, state, started_at, finished_at, program FROM kindledger_migrations "
        "ORDER BY version"
    )
    return {
        row["version"]: MigrationRecord(**{**row, "state": MigrationState(row["state"])})
        for row in rows
    }


def too_new(history: dict[int, MigrationRecord], migrations: Sequence[Migration]) -> Iterator[str]:
    """Says so if the schema has migrations that this program does not know."""
    newest = history.get(max(history, default=0))
    if newest is not None and newest.version > len(migrations):
        yield (
            f"The schema is newer than this program: {newest.label} was applied by {newest.program}, and this program "
            f"knows {len(migrations)} migrations. Use that version of the program, or a later one."
        )


def changed(history: dict[int, MigrationRecord], migrations: Sequence[Migration]) -> Iterator[str]:
    """Names the applied migrations whose files are not what was applied."""
    for migration in migrations:
        record = history.get(migration.version)
        if record is None or record.state is not MigrationState.APPLIED:
            continue
        if (record.name, record.checksum) != (migration.name, migration.checksum):
            yield (
                f"{migration.label}.up.sql is not what was applied as {record.label} at "
                f"{record.started_at.isoformat(timespec='seconds')} by {record.program}. Restore the file, and write a "
                "new migration for what shall change."
            )


def interrupted(history: dict[int, MigrationRecord]) -> Iterator[str]:
    """Names the migrations that were begun and not finished."""
    for record in history.values():
        if record.state is MigrationState.RUNNING:
            yield (
                f"{record.label} was begun at {record.started_at.isoformat(timespec='seconds')} and is not finished: "
                "it is at work at this moment, or it was interrupted. `kindledger migrate up` waits for it or "
                "repeats it."
            )
