"""Migrates a database, and describes its schema."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import asyncpg

from reconciliation.connection import Connection
from reconciliation.migrations.migrator import MigrationStep, Migrator
from reconciliation.migrations.scripts import Migration, load_migrations

MIGRATIONS = load_migrations()
NEWEST = len(MIGRATIONS)


@asynccontextmanager
async def connected(dsn: str) -> AsyncIterator[Connection]:
    connection = await asyncpg.connect(dsn)
    try:
        yield connection
    finally:
        await connection.close()


async def migrate(
    dsn: str, version: int, migrations: Sequence[Migration] = MIGRATIONS, **options: Any
) -> tuple[list[MigrationStep], list[str]]:
    """Migrate to a version, and return the steps and the announced messages."""
    announced: list[str] = []
    async with connected(dsn) as connection:
        return await Migrator(
            connection, migrations, announced.append, program="tests", **options
        ).to(version), announced


async def schema_lines(dsn: str) -> set[str]:
    """Return a line for each relation, column, right, constraint, index, trigger and function."""
    async with connected(dsn) as connection:
        return {row[0] for row in await connection.fetch(_SCHEMA_LINES)}


_SCHEMA_LINES = """
WITH relations AS (SELECT * FROM pg_class WHERE relnamespace = 'public'::regnamespace)
SELECT concat_ws(' ', relkind, relname, relrowsecurity, obj_description(oid, 'pg_class'))
FROM relations
UNION ALL
SELECT concat_ws(
    ' ', relname, attname, format_type(atttypid, atttypmod), attnotnull, attidentity,
    pg_get_expr(adbin, adrelid)
)
FROM relations
    JOIN pg_attribute ON attrelid = relations.oid
    LEFT JOIN pg_attrdef ON (adrelid, adnum) = (attrelid, attnum)
WHERE attnum > 0
UNION ALL
SELECT concat_ws(' ', 'grants', relname, relacl) FROM relations WHERE relacl IS NOT NULL
UNION ALL
SELECT concat_ws(' ', 'grants', relname, attname, attacl)
FROM relations JOIN pg_attribute ON attrelid = relations.oid WHERE attacl IS NOT NULL
UNION ALL
SELECT concat_ws(' ', 'grants', nspname, nspacl) FROM pg_namespace WHERE nspname = 'public'
UNION ALL
SELECT concat_ws(' ', conrelid::regclass, conname, pg_get_constraintdef(oid))
FROM pg_constraint WHERE connamespace = 'public'::regnamespace
UNION ALL
SELECT concat_ws(' ', pg_get_indexdef(indexrelid), indisvalid)
FROM pg_index JOIN relations ON relations.oid = indexrelid
UNION ALL
SELECT concat_ws(' ', pg_get_triggerdef(pg_trigger.oid), tgenabled)
FROM pg_trigger JOIN relations ON relations.oid = tgrelid WHERE NOT tgisinternal
UNION ALL
SELECT concat_ws(' ', pg_get_functiondef(oid), proacl)
FROM pg_proc WHERE pronamespace = 'public'::regnamespace
UNION ALL
SELECT concat_ws(' ', relname, pg_get_viewdef(oid)) FROM relations WHERE relkind = 'v'
UNION ALL
SELECT pg_policies::text FROM pg_policies WHERE schemaname = 'public'
"""
