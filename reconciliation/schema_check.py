"""Looks the mapping up in PostgreSQL's catalogue before anything is asked of its tables.

What would fail later, or worse, settle nothing without a word, is named at once: a table, column or right that is
missing, a type that holds no hash, a table whose row-level security hides its rows.
"""

from collections.abc import Iterator

import asyncpg
from msgspec import Struct

from reconciliation.errors import ReconciliationError
from reconciliation.mapping import BusinessMapping, Table
from reconciliation.postgres_servers import Connection
from reconciliation.statements import Statements, quoted

_HASH_TYPES = ("text", "character varying", "character", "bpchar")
_OWN = """
SELECT own.name, needed.command
FROM unnest(ARRAY['ledger_cursor', 'ledger_discrepancies']) AS own(name)
    LEFT JOIN unnest($1::text[]) AS needed(command) ON to_regclass(own.name) IS NOT NULL
WHERE has_table_privilege(to_regclass(own.name), needed.command) IS NOT TRUE
"""
_TABLE = """
SELECT c.oid, has_schema_privilege(n.oid, 'USAGE') AS usable, row_security_active(c.oid) AS hides_rows
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = $1 AND c.relname = $2 AND c.relkind IN ('r', 'p')
"""
_COLUMNS = """
SELECT a.attname AS name, tn.nspname AS type_schema, t.typname AS type, t.oid::regtype::text AS shown,
       has_column_privilege(a.attrelid, a.attnum, 'SELECT') AS readable,
       has_column_privilege(a.attrelid, a.attnum, 'UPDATE') AS writable
FROM pg_attribute a JOIN pg_type given ON given.oid = a.atttypid
    -- Of a domain the type below: a value that its CHECK refuses is in no row, but would fail the whole batch.
    JOIN pg_type t ON t.oid = coalesce(nullif(given.typbasetype, 0), given.oid)
    JOIN pg_namespace tn ON tn.oid = t.typnamespace
WHERE a.attrelid = $1 AND a.attnum > 0 AND NOT a.attisdropped
"""
_POLICY = """
SELECT EXISTS (
    SELECT FROM pg_policies p
    WHERE p.schemaname = $1 AND p.tablename = $2 AND p.permissive = 'PERMISSIVE' AND p.cmd IN ('ALL', $3)
      AND EXISTS (SELECT FROM unnest(p.roles) AS r(name)
                  WHERE r.name = 'public' OR pg_has_role(current_user, r.name, 'USAGE')))
"""


class _Needed(Struct, frozen=True):
    """The role whose rights suffice, and whether it settles rows or only reads."""

    role: str
    settling: bool

    @property
    def grant(self) -> str:
        """What to do."""
        return f"grant the user the role {self.role}, or this right"

    @property
    def own_rights(self) -> tuple[str, ...]:
        """On the daemon's own tables."""
        return ("SELECT", "INSERT", "UPDATE") if self.settling else ("SELECT",)

    def updated(self, table: Table) -> tuple[str, ...]:
        """The columns that are written."""
        return table.settled_columns if self.settling else ()


async def checked_statements(
    connection: Connection, mapping: BusinessMapping, *, settling: bool = True
) -> dict[str, Statements]:
    """The statements for each table of the mapping, by its name; those that settle too, or those that read only.

    Raises `ReconciliationError` that names everything that does not fit.
    """
    needed = _Needed("kindledger_indexer" if settling else "kindledger_reporter", settling)
    mistakes = [
        f"the user may not {command} {name}: {needed.grant}"
        if command is not None
        else f"there is no table {name}: run `kindledger migrate up`"
        for name, command in await connection.fetch(_OWN, needed.own_rights)
    ]
    statements: dict[str, Statements] = {}
    for table in mapping.tables:
        types, found = await _look(connection, mapping.schema, table, needed)
        mistakes += found
        if not found:
            statements[table.name] = Statements(mapping.schema, table, types)
    if mistakes:
        raise ReconciliationError(
            f"the business database does not fit [reconcile]: {'; '.join(mistakes)}"
        )
    return statements


async def _look(
    connection: Connection, schema: str, table: Table, needed: _Needed
) -> tuple[dict[str, str], list[str]]:
    """The types of the table's columns, and what is wrong with it."""
    where = f"{schema}.{table.name}"
    found = await connection.fetchrow(_TABLE, schema, table.name)
    if found is None:
        return {}, [
            f"there is no table {where}: run `kindledger migrate up`, or correct reconcile.tables"
        ]
    if not found["usable"]:
        return {}, [f"the user may not use the schema {schema}: grant it the role {needed.role}"]
    columns = {column["name"]: column for column in await connection.fetch(_COLUMNS, found["oid"])}
    mistakes = list(_mistakes(where, table, columns, needed))
    if found["hides_rows"]:
        mistakes += await _hidden(connection, schema, table, needed)
    types = {
        name: f"{quoted(column['type_schema'])}.{quoted(column['type'])}"
        for name, column in columns.items()
    }
    return types, mistakes


def _mistakes(
    where: str, table: Table, columns: dict[str, asyncpg.Record], needed: _Needed
) -> Iterator[str]:
    for name in table.columns:
        if name not in columns:
            yield f"{where} has no column {name}"
        elif not columns[name]["readable"]:
            yield f"the user may not SELECT {where}.{name}: {needed.grant}"
        elif name in needed.updated(table) and not columns[name]["writable"]:
            yield f"the user may not UPDATE {where}.{name}: {needed.grant}"
    held = columns.get(table.hash)
    if held is not None and held["shown"] not in _HASH_TYPES:
        yield f"{where}.{table.hash} is of type {held['shown']}: a hash is looked for in text, varchar or char columns"


async def _hidden(connection: Connection, schema: str, table: Table, needed: _Needed) -> list[str]:
    """What row-level security keeps from the user: an UPDATE would settle nothing, without an error."""
    commands = ("SELECT", "UPDATE") if needed.updated(table) else ("SELECT",)
    return [
        f"row-level security of {schema}.{table.name} hides its rows: no policy lets the user {command}; "
        f"create one for the role {needed.role}"
        for command in commands
        if not await connection.fetchval(_POLICY, schema, table.name, command)
    ]
