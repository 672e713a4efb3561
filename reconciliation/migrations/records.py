"""The migrations that a schema records as applied or begun, and the faults of these records."""

from collections.abc import Iterator, Sequence
from datetime import datetime
from enum import StrEnum
from typing import Final

from msgspec import Struct

from reconciliation.connection import Connection
from reconciliation.migrations.scripts import Migration

RECORDS_TABLE: Final = "kindledger_migrations"


class MigrationState(StrEnum):
    """The state of a migration. Only a migration without a transaction is ever seen as running."""

    PENDING = "pending"
    RUNNING = "running"
    APPLIED = "applied"


class MigrationRecord(Struct, frozen=True):
    """A migration that was begun or applied, and the version of the program that did it."""

    version: int
    name: str
    checksum: str
    state: MigrationState
    started_at: datetime
    finished_at: datetime | None
    program: str

    @property
    def label(self) -> str:
        """The first part of the file names, as in `Migration.label`."""
        return f"{self.version:04}_{self.name}"


async def read_records(connection: Connection) -> dict[int, MigrationRecord]:
    """Return the records by version; nothing if the schema was never migrated."""
    if await connection.fetchval("SELECT to_regclass($1)", RECORDS_TABLE) is None:
        return {}
    rows = await connection.fetch(
        "SELECT version, name, checksum, state, started_at, finished_at, program "
        "FROM kindledger_migrations ORDER BY version"
    )
    return {
        row["version"]: MigrationRecord(**{**row, "state": MigrationState(row["state"])})
        for row in rows
    }


def newer_schema_faults(
    records: dict[int, MigrationRecord], migrations: Sequence[Migration]
) -> Iterator[str]:
    """Yield a message if the schema has migrations that this program does not know."""
    newest = records.get(max(records, default=0))
    if newest is not None and newest.version > len(migrations):
        yield (
            f"The schema is newer than this program: {newest.label} was applied by "
            f"{newest.program}, and this program knows {len(migrations)} migrations. Use that "
            "version of the program, or a later one."
        )


def changed_file_faults(
    records: dict[int, MigrationRecord], migrations: Sequence[Migration]
) -> Iterator[str]:
    """Yield a message for each applied migration whose file has changed since."""
    for migration in migrations:
        record = records.get(migration.version)
        if record is None or record.state is not MigrationState.APPLIED:
            continue
        if (record.name, record.checksum) != (migration.name, migration.checksum):
            applied_at = record.started_at.isoformat(timespec="seconds")
            yield (
                f"{migration.label}.up.sql is not what was applied as {record.label} at "
                f"{applied_at} by {record.program}. Restore the file, and make further changes in "
                "a new migration."
            )


def unfinished_faults(records: dict[int, MigrationRecord]) -> Iterator[str]:
    """Yield a message for each migration that was begun and not finished."""
    for record in records.values():
        if record.state is MigrationState.RUNNING:
            began_at = record.started_at.isoformat(timespec="seconds")
            yield (
                f"{record.label} began at {began_at} and is not finished: it is running now, or it "
                "was interrupted. `kindledger migrate up` waits for it or repeats it."
            )
