"""Runs migrations, in one process at a time.

A migration and its record are written in one transaction. A migration that cannot run in a
transaction is recorded as running before it, and as applied after it; if it is interrupted, it is
repeated.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from enum import StrEnum
from typing import Final

import asyncpg
from msgspec import Struct

from reconciliation.connection import Connection
from reconciliation.migrations.records import (
    RECORDS_TABLE,
    MigrationRecord,
    MigrationState,
    changed_file_faults,
    newer_schema_faults,
    read_records,
    unfinished_faults,
)
from reconciliation.migrations.scripts import Migration, MigrationError

LOCK_KEY: Final = 0x6B696E646C6564  # "kindled"
"""The key of the advisory lock that a migrating process holds."""

SERVER_UNAVAILABLE: Final = (
    asyncpg.PostgresConnectionError,
    asyncpg.CannotConnectNowError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.InterfaceError,
)
"""The errors of asyncpg if the server is unavailable or the connection is closed."""

_LOCK_TIMEOUT_S: Final = 10.0
_POLL_INTERVAL_S = 0.2
_OLDEST_SERVER = 13
_DUPLICATE_TABLE = "42P07"

# Without row_security a policy that hides rows from the migrating user is an error. With
# client_connection_check_interval (PostgreSQL 14 and newer) the session of a killed process, which
# holds the lock, ends soon.
_SESSION_SETTINGS = """
    SET statement_timeout = 0;
    SET lock_timeout = 0;
    SET row_security = off;
    SELECT set_config(name, '1s', false)
    FROM pg_settings WHERE name = 'client_connection_check_interval';
"""
_CREATE_RECORDS = """
    CREATE TABLE IF NOT EXISTS kindledger_migrations (
        version     INTEGER PRIMARY KEY,
        name        TEXT NOT NULL,
        checksum    TEXT NOT NULL,
        state       TEXT NOT NULL,
        started_at  TIMESTAMPTZ NOT NULL,
        finished_at TIMESTAMPTZ,
        program     TEXT NOT NULL
    )
"""
_RECORD_BEGIN = """
    INSERT INTO kindledger_migrations (version, name, checksum, state, started_at, program)
    VALUES ($1, $2, $3, 'running', clock_timestamp(), $4)
    ON CONFLICT (version) DO UPDATE
    SET name = excluded.name, checksum = excluded.checksum, state = 'running',
        started_at = excluded.started_at, finished_at = NULL, program = excluded.program
"""
_RECORD_APPLIED = """
    UPDATE kindledger_migrations SET state = 'applied', finished_at = clock_timestamp()
    WHERE version = $1
"""
_RECORD_REVERTED = "DELETE FROM kindledger_migrations WHERE version = $1"


class MigrationAction(StrEnum):
    """What was done with a migration."""

    APPLIED = "applied"
    REVERTED = "reverted"


class MigrationStep(Struct, frozen=True):
    """A migration that was applied or reverted."""

    version: int
    name: str
    action: MigrationAction


async def check_schema(connection: Connection, migrations: Sequence[Migration]) -> None:
    """Raise `MigrationError` if the schema has no migration, an unknown one, or an unfinished one.

    Reads the table `kindledger_migrations` alone. Missing migrations are no fault: a business
    schema of another shape has the first migration only.
    """
    records = await read_records(connection)
    if not records:
        raise MigrationError("The schema has no migration yet. Run `kindledger migrate up`.")
    for fault in (*newer_schema_faults(records, migrations), *unfinished_faults(records)):
        raise MigrationError(fault)


class Migrator:
    """Migrates the schema that is first in the connection's search_path.

    The connection must have no other user, because its settings are changed. `announce` receives
    the server's notices, and a message while another process migrates. Every method raises
    `MigrationError`, or one of `SERVER_UNAVAILABLE`.
    """

    def __init__(
        self,
        connection: Connection,
        migrations: Sequence[Migration],
        announce: Callable[[str], None],
        *,
        program: str,
        lock_timeout_s: float = _LOCK_TIMEOUT_S,
    ) -> None:
        self._connection, self._migrations, self._announce = connection, migrations, announce
        self._program, self._lock_timeout_s = program, lock_timeout_s

    async def up(self) -> list[MigrationStep]:
        """Apply every missing migration."""
        return await self.to(len(self._migrations))

    async def down(self) -> list[MigrationStep]:
        """Revert the newest migration that is applied."""
        async with self._exclusive() as records:
            return await self._migrate(records, max(records, default=1) - 1)

    async def to(self, version: int) -> list[MigrationStep]:
        """Apply the missing migrations up to `version`, and revert those above it.

        Version 0 reverts every migration.
        """
        if version > len(self._migrations):
            raise MigrationError(
                f"There is no migration {version:04}: the newest is {len(self._migrations):04}."
            )
        async with self._exclusive() as records:
            return await self._migrate(records, version)

    async def _migrate(
        self, records: dict[int, MigrationRecord], version: int
    ) -> list[MigrationStep]:
        steps = [
            await self._run(migration, MigrationAction.REVERTED)
            for migration in reversed(self._migrations[version:])
            if migration.version in records
        ]
        for migration in self._migrations[:version]:
            record = records.get(migration.version)
            if record is None or record.state is not MigrationState.APPLIED:
                steps.append(await self._run(migration, MigrationAction.APPLIED))
        return steps

    async def _run(self, migration: Migration, action: MigrationAction) -> MigrationStep:
        applies = action is MigrationAction.APPLIED
        script = migration.up if applies else migration.down
        record_end = _RECORD_APPLIED if applies else _RECORD_REVERTED
        with self._migration_errors(migration.label, transactional=script.transactional):
            if script.transactional:
                async with self._connection.transaction():
                    timeout_ms = int(self._lock_timeout_s * 1000)
                    await self._connection.execute(f"SET LOCAL lock_timeout = '{timeout_ms}ms'")
                    await self._record_begin(migration)
                    await self._connection.execute(script.text)
                    await self._connection.execute(record_end, migration.version)
            else:
                self._announce(
                    f"{migration.label} runs while the application works, and waits for open "
                    "transactions."
                )
                await self._record_begin(migration)
                for statement in script.statements:
                    await self._connection.execute(statement)
                await self._connection.execute(record_end, migration.version)
        return MigrationStep(migration.version, migration.name, action)

    async def _record_begin(self, migration: Migration) -> None:
        await self._connection.execute(
            _RECORD_BEGIN, migration.version, migration.name, migration.checksum, self._program
        )

    @asynccontextmanager
    async def _exclusive(self) -> AsyncIterator[dict[int, MigrationRecord]]:
        """Hold the lock against other migrating processes, and yield the checked records.

        The lock ends with the session. It is polled: a session that waits for the lock in the
        server holds a snapshot, for which CREATE INDEX CONCURRENTLY of the other process would
        wait.
        """
        if self._connection.get_server_version().major < _OLDEST_SERVER:
            raise MigrationError(f"PostgreSQL {_OLDEST_SERVER} or newer is needed.")
        self._connection.add_log_listener(self._forward_notice)
        await self._connection.execute(_SESSION_SETTINGS)
        if not await self._try_lock():
            self._announce(
                "Another `kindledger migrate` is running on this database: waiting for its end."
            )
            while not await self._try_lock():  # noqa: ASYNC110 - held by another process
                await asyncio.sleep(_POLL_INTERVAL_S)
        try:
            yield await self._checked_records()
        finally:
            if not self._connection.is_closed():
                await self._connection.execute("SELECT pg_advisory_unlock($1)", LOCK_KEY)
                self._connection.remove_log_listener(self._forward_notice)

    async def _try_lock(self) -> bool:
        return bool(await self._connection.fetchval("SELECT pg_try_advisory_lock($1)", LOCK_KEY))

    async def _checked_records(self) -> dict[int, MigrationRecord]:
        """Return the records. Raises `MigrationError` if they do not fit the migrations."""
        with self._migration_errors(RECORDS_TABLE, transactional=True):
            await self._connection.execute(_CREATE_RECORDS)
            records = await read_records(self._connection)
        for fault in (
            *newer_schema_faults(records, self._migrations),
            *changed_file_faults(records, self._migrations),
        ):
            raise MigrationError(fault)
        return records

    def _forward_notice(self, _: object, message: asyncpg.PostgresLogMessage) -> None:
        if message.sqlstate != _DUPLICATE_TABLE:
            self._announce(message.message)

    @contextmanager
    def _migration_errors(self, subject: str, *, transactional: bool) -> Iterator[None]:
        """Raise PostgreSQL's errors as `MigrationError`, with the schema's state and advice."""
        try:
            yield
        except SERVER_UNAVAILABLE:
            raise
        except asyncpg.PostgresError as error:
            texts = (f"{subject}: {error.args[0]}", error.detail, error.hint)
            sentences = [f"{text.removesuffix('.')}." for text in texts if text]
            if isinstance(error, asyncpg.LockNotAvailableError | asyncpg.DeadlockDetectedError):
                sentences.append(
                    f"A table was in use for more than {self._lock_timeout_s:g} s. Try again when "
                    "no long transaction is open (pg_stat_activity shows them)."
                )
            elif type(error) is asyncpg.InsufficientPrivilegeError and error.hint is None:
                sentences.append(
                    "Migrate as the owner of the schema and its tables: postgres.migration_dsn."
                )
            sentences.append(
                "Nothing was changed."
                if transactional
                else "The migration stays unfinished until `kindledger migrate up` repeats it."
            )
            raise MigrationError(" ".join(sentences)) from error
