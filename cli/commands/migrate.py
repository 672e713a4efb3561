"""`kindledger migrate`: the schema of the business database."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import asyncpg
import click

from cli.assembly.postgres import owner_dsn
from cli.commands.options import LoadSettings, json_option
from cli.configuration.redaction import unusable_address
from cli.configuration.settings import Settings
from cli.errors import ConfigurationError, UnavailableError, exit_on_failure
from cli.output.console import messages, print_json, print_table
from cli.version import PROGRAM
from reconciliation.connection import Connection
from reconciliation.migrations.migrator import SERVER_UNAVAILABLE, MigrationStep, Migrator
from reconciliation.migrations.records import (
    MigrationState,
    changed_file_faults,
    newer_schema_faults,
    read_records,
    unfinished_faults,
)
from reconciliation.migrations.scripts import load_migrations

_CONNECT_TIMEOUT_S = 10


@click.group("migrate", short_help="Change the schema of the business database.")
def migrate_group() -> None:
    """Change the schema of the business database (postgres.migration_dsn, or postgres.dsn)."""


@migrate_group.command("up", short_help="Apply every missing migration.")
@json_option
@click.pass_obj
def migrate_up_command(load: LoadSettings, /, *, as_json: bool) -> None:
    """Apply every missing migration."""
    with exit_on_failure():
        asyncio.run(migrate(load(), Migrator.up, as_json=as_json))


@migrate_group.command("down", short_help="Revert the newest applied migration.")
@json_option
@click.pass_obj
def migrate_down_command(load: LoadSettings, /, *, as_json: bool) -> None:
    """Revert the newest applied migration."""
    with exit_on_failure():
        asyncio.run(migrate(load(), Migrator.down, as_json=as_json))


@migrate_group.command("to", short_help="Apply or revert migrations up to VERSION.")
@click.argument("version", type=click.IntRange(0))
@json_option
@click.pass_obj
def migrate_to_command(load: LoadSettings, /, *, version: int, as_json: bool) -> None:
    """Apply or revert migrations until VERSION is the newest applied one; 0 reverts all.

    For a business schema other than KindLedger's, 1 is enough: it creates the daemon's own tables
    only.
    """
    with exit_on_failure():
        asyncio.run(migrate(load(), lambda migrator: migrator.to(version), as_json=as_json))


@migrate_group.command("status", short_help="Show the migrations and their faults.")
@json_option
@click.pass_obj
def migrate_status_command(load: LoadSettings, /, *, as_json: bool) -> None:
    """Show which migrations are applied and since when, and what is wrong with them."""
    with exit_on_failure():
        asyncio.run(show_migrations(load(), as_json=as_json))


async def migrate(
    settings: Settings, move: Callable[[Migrator], Awaitable[list[MigrationStep]]], *, as_json: bool
) -> None:
    """Change the schema by `move`, one of the migrator's methods, and print what was done.

    Raises `MigrationError`, `ConfigurationError` and `UnavailableError`.
    """
    async with _connection(settings) as connection:
        steps = await move(Migrator(connection, load_migrations(), _announce, program=PROGRAM))
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
    """Print every known or recorded migration, and what is wrong with them.

    Raises the same errors as `migrate`.
    """
    migrations = load_migrations()
    async with _connection(settings) as connection:
        records = await read_records(connection)
    names = {migration.version: migration.name for migration in migrations}
    names |= {version: record.name for version, record in records.items()}
    faults = [
        *newer_schema_faults(records, migrations),
        *changed_file_faults(records, migrations),
        *unfinished_faults(records),
    ]
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
        for record in (records.get(version),)
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
    """Yield a connection as the schema's owner."""
    dsn, key = owner_dsn(settings.postgres)
    try:
        connection = await asyncpg.connect(dsn, timeout=_CONNECT_TIMEOUT_S)
    except (asyncpg.InterfaceError, ValueError) as error:
        raise ConfigurationError(f"{key}: {unusable_address(dsn, error)}") from error
    except (OSError, *SERVER_UNAVAILABLE) as error:
        raise UnavailableError(
            f"{key}: PostgreSQL cannot be reached: {str(error) or 'no answer'}. Check host and "
            "port of this address, and whether the server runs"
        ) from error
    except asyncpg.PostgresError as error:
        raise ConfigurationError(
            f"PostgreSQL refuses: {error}. Check user, password and database in {key}"
        ) from error
    try:
        yield connection
    except SERVER_UNAVAILABLE as error:
        raise UnavailableError(
            "the connection to PostgreSQL was lost; `kindledger migrate status` shows which "
            "migrations were applied"
        ) from error
    finally:
        connection.terminate()


def _announce(text: str) -> None:
    messages.print(text, markup=False, highlight=False, soft_wrap=True)
