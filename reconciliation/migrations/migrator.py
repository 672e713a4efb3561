"""Runs migrations, one starter at a time.

A migration and its record are one transaction. One that cannot run in a transaction is recorded as running before and
as applied after; whatever stops it in between, it is repeated.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from enum import StrEnum
from typing import Final

import asyncpg
from msgspec import Struct

from reconciliation.migrations.records import (
    TABLE,
    Connection,
    MigrationRecord,
    MigrationState,
    changed,
    interrupted,
    read_history,
    too_new,
)
from reconciliation.migrations.scripts import Migration, MigrationError

LOCK_TIMEOUT_S: Final = 10
"""How long a migration waits for a lock on a table: the application's statements queue up behind it meanwhile."""

UNAVAILABLE: Final = (
    asyncpg.PostgresConnectionError,
    asyncpg.CannotConnectNowError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.InterfaceError,
)
"""What asyncpg raises when the server went away, or the connection is closed: no fault of a migration."""

_POLL_S = 0.2
_LOCK_KEY = 0x6B696E646C6564  # "kindled"
_OLDEST_SERVER = 13
_EXISTS_ALREADY = "42P07"

# A policy that hides rows from the migrating user is an error, not fewer rows. A killed starter's session, which holds
# the lock, ends as soon as the server can know (PostgreSQL 14 and newer).
_SESSION = """
    SET statement_timeout = 0;
    SET lock_timeout = 0;
    SET row_security = off;
    SELECT set_config(name, '1s', false) FROM pg_settings WHERE name = 'client_connection_check_interval';
"""
_HISTORY = """
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
_BEGUN = """
    INSERT INTO kindledger_migrations (version, name, checksum, state, started_at, program)
    VALUES ($1, $2, $3, 'running', clock_timestamp(), $4)
    ON CONFLICT (version) DO UPDATE
    SET name = excluded.name, checksum = excluded.checksum, state = 'running', started_at = excluded.started_at,
        finished_at = NULL, program = excluded.program
"""
_APPLIED = "UPDATE kindledger_migrations SET state = 'applied', finished_at = clock_timestamp() WHERE version = $1"
_REVERTED = "DELETE FROM kindledger_migrations WHERE version = $1"


class Action(StrEnum):
    """What was done with a migration."""

    APPLIED = "applied"
    REVERTED = "reverted"


class Step(Struct, frozen=True):
    """What was done: `applied` or `reverted`."""

    version: int
    name: str
    action: Action


async def check_schema(connection: Connection, migrations: Sequence[Migration]) -> None:
    """Raises `MigrationError` for a schema that the daemon must not work with: none, a newer one, an unfinished one.

    Reads `kindledger_migrations`, and nothing else. Fewer migrations than there are is no fault: a business schema of
    another shape has the first one only.
    """
    history = await read_history(connection)
    if not history:
        raise MigrationError("The schema has no migration yet. Run `kindledger migrate up`.")
    for fault in (*too_new(history, migrations), *interrupted(history)):
        raise MigrationError(fault)


class Migrator:
    """Changes the schema that the connection's search_path finds first.

    The connection is used by nothing else, and its settings are changed. What the server has to say, and a wait for
    another starter, is announced. Every method raises `MigrationError`, or one of `UNAVAILABLE`.
    """

    def __init__(
        self,
        connection: Connection,
        migrations: Sequence[Migration],
        announce: Callable[[str], None],
        *,
        program: str,
    ) -> None:
        self._connection, self._migrations, self._announce, self._program = (
            connection,
            migrations,
            announce,
            program,
        )

    async def up(self) -> list[Step]:
        """Applies what is missing."""
        return await self.to(len(self._migrations))

    async def down(self) -> list[Step]:
        """Reverts the newest migration that is applied."""
        async with self._alone() as history:
            return await self._move(history, max(history, default=1) - 1)

    async def to(self, version: int) -> list[Step]:
        """Applies what is missing up to `version` and reverts what is above it; 0 reverts everything."""
        if version > len(self._migrations):
            raise MigrationError(
                f"There is no migration {version:04}: the newest is {len(self._migrations):04}."
            )
        async with self._alone() as history:
            return await self._move(history, version)

    async def _move(self, history: dict[int, MigrationRecord], version: int) -> list[Step]:
        steps = [
            await self._run(migration, Action.REVERTED)
            for migration in reversed(self._migrations[version:])
            if migration.version in history
        ]
        for migration in self._migrations[:version]:
            record = history.get(migration.version)
            if record is None or record.state is not MigrationState.APPLIED:
                steps.append(await self._run(migration, Action.APPLIED))
        return steps

    async def _run(self, migration: Migration, action: Action) -> Step:
        script, done = (
            (migration.up, _APPLIED) if action is Action.APPLIED else (migration.down, _REVERTED)
        )
        begun = (_BEGUN, migration.version, migration.name, migration.checksum, self._program)
        with _explained(migration.label, transactional=script.transactional):
            if script.transactional:
                async with self._connection.transaction():
                    await self._connection.execute(f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT_S}s'")
                    await self._connection.execute(*begun)
                    await self._connection.execute(script.text)
                    await self._connection.execute(done, migration.version)
            else:
                self._announce(
                    f"{migration.label} runs beside the application; waits for open transactions."
                )
                await self._connection.execute(*begun)
                for statement in script.statements:
                    await self._connection.execute(statement)
                await self._connection.execute(done, migration.version)
        return Step(migration.version, migration.name, action)

    @asynccontextmanager
    async def _alone(self) -> AsyncIterator[dict[int, MigrationRecord]]:
        """Keeps other starters out; yields the history, which fits the migrations.

        The lock belongs to the session, so it ends with it. It is asked for again and again: a session that waits in
        the server for a lock holds a snapshot, and the other's CREATE INDEX CONCURRENTLY would wait for that.
        """
        if self._connection.get_server_version().major < _OLDEST_SERVER:
            raise MigrationError(f"PostgreSQL {_OLDEST_SERVER} or newer is needed.")
        self._connection.add_log_listener(self._overhear)
        await self._connection.execute(_SESSION)
        if not await self._locked():
            self._announce(
                "Another `kindledger migrate` is at work on this database: waiting for it to end."
            )
            while not await self._locked():  # noqa: ASYNC110 - the other one is another process
                await asyncio.sleep(_POLL_S)
        try:
            with _explained(TABLE, transactional=True):
                await self._connection.execute(_HISTORY)
                history = await read_history(self._connection)
            for fault in (*too_new(history, self._migrations), *changed(history, self._migrations)):
                raise MigrationError(fault)
            yield history
        finally:
            if not self._connection.is_closed():
                await self._connection.execute("SELECT pg_advisory_unlock($1)", _LOCK_KEY)
                self._connection.remove_log_listener(self._overhear)

    async def _locked(self) -> bool:
        return bool(await self._connection.fetchval("SELECT pg_try_advisory_lock($1)", _LOCK_KEY))

    def _overhear(self, _: object, message: asyncpg.PostgresLogMessage) -> None:
        if message.sqlstate != _EXISTS_ALREADY:
            self._announce(message.message)


@contextmanager
def _explained(subject: str, *, transactional: bool) -> Iterator[None]:
    """Turns what PostgreSQL says into a `MigrationError`, with what it means for the schema and what to do."""
    try:
        yield
    except UNAVAILABLE:
        raise
    except asyncpg.PostgresError as error:
        said = (f"{subject}: {error.args[0]}", error.detail, error.hint)
        sentences = [f"{text.removesuffix('.')}." for text in said if text]
        if isinstance(error, asyncpg.LockNotAvailableError | asyncpg.DeadlockDetectedError):
            sentences.append(
                f"A table was in use for more than {LOCK_TIMEOUT_S} s. Try again when no long transaction is open "
                "(pg_stat_activity shows them)."
            )
        elif type(error) is asyncpg.InsufficientPrivilegeError and error.hint is None:
            sentences.append(
                "Migrate as the owner of the schema and its tables: postgres.migration_dsn."
            )
        sentences.append(
            "Nothing was changed."
            if transactional
            else "It stays unfinished until `kindledger migrate up` repeats it."
        )
        raise MigrationError(" ".join(sentences)) from error
