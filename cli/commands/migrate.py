"""`kindledger migrate`: the schema of the business database."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import asyncpg

from cli.assembly.postgres import owner_dsn
from cli.configuration.redaction import unusable_address
from cli.configuration.settings import Settings
from cli.errors import ConfigurationError, PostgresUnavailableError
from cli.output.console import messages, print_json, print_table
from cli.version import VERSION
from reconciliation.migrations.migrator import UNAVAILABLE, Migrator, Step
from reconciliation.migrations.records import (
    Connection,
    MigrationState,
    changed,
    interrupted,
    read_history,
    too_new,
)
from reconciliation.migrations.scripts import load_migrations

_CONNECT_TIMEOUT_S = 10


async def migrate(
    settings: Settings, move: Callable[[Migrator], Awaitable[list[Step]]], *, as_json: bool
) -> None:
    """Changes the schema by `move`, one of the migrator's methods, and prints what was done.

    Raises `MigrationError`, `ConfigurationError` and `PostgresUnavailableError`.
    """
    async with _connection(settings) as connection:
        steps = await move(
            Migrator(
                connection, load_migrations(), _announce, program=f"kindledger-explorer {VERSION}"
            )
        )
    if as_json:
        print_json({"steps": steps})
    elif steps:
        print_table(
            ("version", "name", "done"),
            ((f"{step.version:04}", step.name, step.action) for step in steps),
        )
    else:
        _announce("Nothing to do.")


async def show_migrations(settings: Settings, *, as_json: bool) -> None:
    """Prints every migration, known or recorded, and what is wrong with them. Raises as `migrate` does."""
    migrations = load_migrations()
    async with _connection(settings) as connection:
        history = await read_history(connection)
    names = {migration.version: migration.name for migration in migrations}
    names |= {version: record.name for version, record in history.items()}
    faults = [*too_new(history, migrations), *changed(history, migrations), *interrupted(history)]
    rows = [
        {
            "version": version,
            "name": name,
            "state": record.state if record is not None else MigrationState.PENDING,
            "startedAt": record.started_at if record is not None else None,
            "finishedAt": record.finished_at if record is not None else None,
            "program": record.program if record is not None else None,
        }
        for version, name in names.items()
        for record in (history.get(version),)
    ]
    if as_json:
        print_json({"migrations": rows, "faults": faults})
        return
    print_table(
        ("version", "name", "state", "when"),
        ((f"{row['version']:04}", row["name"], row["state"], row["finishedAt"]) for row in rows),
    )
    for fault in faults:
        _announce(fault)


@asynccontextmanager
async def _connection(settings: Settings) -> AsyncIterator[Connection]:
    """A connection for the schema's owner."""
    dsn = owner_dsn(settings.postgres)
    try:
        connection = await asyncpg.connect(dsn, timeout=_CONNECT_TIMEOUT_S)
    except (asyncpg.InterfaceError, ValueError) as error:
        raise ConfigurationError(
            f"postgres.migration_dsn, or postgres.dsn: {unusable_address(dsn, error)}"
        ) from error
    except (OSError, *UNAVAILABLE) as error:
        raise PostgresUnavailableError(
            f"PostgreSQL cannot be reached: {str(error) or 'no answer'}"
        ) from error
    except asyncpg.PostgresError as error:
        raise ConfigurationError(
            f"PostgreSQL refuses: {error}. Check postgres.migration_dsn, or postgres.dsn"
        ) from error
    try:
        yield connection
    except UNAVAILABLE as error:
        raise PostgresUnavailableError(
            "PostgreSQL went away; `kindledger migrate status` will tell how far the migrations came"
        ) from error
    finally:
        connection.terminate()


def _announce(text: str) -> None:
    messages.print(text, markup=False, highlight=False, soft_wrap=True)
