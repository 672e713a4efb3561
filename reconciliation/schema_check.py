"""Compares the mapping with PostgreSQL's catalogue before any business table is read.

The check names each table, column or right that is missing, each hash column whose type cannot
hold a hash, and each table whose row-level security hides its rows: an UPDATE would then settle
nothing, without an error.
"""

from collections.abc import Iterator

import asyncpg
from msgspec import Struct

from reconciliation.connection import Connection
from reconciliation.errors import ReconciliationError
from reconciliation.mapping import BusinessMapping, BusinessTable
from reconciliation.statements import TableStatements, quoted

_HASH_TYPES = ("text", "character varying", "character", "bpchar")
_DAEMON_TABLES = """
SELECT own.name, needed.command
FROM unnest(ARRAY['ledger_cursor', 'ledger_discrepancies']) AS own(name)
    LEFT JOIN unnest($1::text[]) AS needed(command) ON to_regclass(own.name) IS NOT NULL
WHERE has_table_privilege(to_regclass(own.name), needed.command) IS NOT TRUE
"""
_TABLE = """
SELECT c.oid, has_schema_privilege(n.oid, 'USAGE') AS usable,
       row_security_active(c.oid) AS hides_rows
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = $1 AND c.relname = $2 AND c.relkind IN ('r', 'p')
"""
_COLUMNS = """
SELECT a.attname AS name, tn.nspname AS type_schema, t.typname AS type,
       t.oid::regtype::text AS type_name,
       has_column_privilege(a.attrelid, a.attnum, 'SELECT') AS readable,
       has_column_privilege(a.attrelid, a.attnum, 'UPDATE') AS writable
FROM pg_attribute a JOIN pg_type given ON given.oid = a.atttypid
    -- A domain is replaced by its base type: a cast to the domain would check each searched hash,
    -- and a hash that the CHECK refuses would fail the whole batch.
    JOIN pg_type t ON t.oid = coalesce(nullif(given.typbasetype, 0), given.oid)
    JOIN pg_namespace tn ON tn.oid = t.typnamespace
WHERE a.attrelid = $1 AND a.attnum > 0 AND NOT a.attisdropped
"""
_POLICY = """
SELECT EXISTS (
    SELECT FROM pg_policies p
    WHERE p.schemaname = $1 AND p.tablename = $2
      AND p.permissive = 'PERMISSIVE' AND p.cmd IN ('ALL', $3)
      AND EXISTS (SELECT FROM unnest(p.roles) AS r(name)
                  WHERE r.name = 'public' OR pg_has_role(current_user, r.name, 'USAGE')))
"""


class _RequiredRole(Struct, frozen=True):
    """The role that grants every needed right, and whether it settles rows or only reads them."""

    role: str
    settles: bool

    @property
    def advice(self) -> str:
        """What an operator should do about a missing right."""
        return f"grant the user the role {self.role}, or this right"

    @property
    def daemon_table_rights(self) -> tuple[str, ...]:
        """The rights on the daemon's own tables."""
        return ("SELECT", "INSERT", "UPDATE") if self.settles else ("SELECT",)

    def updated_columns(self, table: BusinessTable) -> tuple[str, ...]:
        """Return the columns that the role writes."""
        return table.settled_columns if self.settles else ()


async def checked_statements(
    connection: Connection, mapping: BusinessMapping, *, settling: bool = True
) -> dict[str, TableStatements]:
    """Check the mapping, and return the statements of each table by its name.

    Without `settling` the rights to read suffice. Raises `ReconciliationError` with everything that
    does not fit.
    """
    required = _RequiredRole("kindledger_indexer" if settling else "kindledger_reporter", settling)
    faults = [
        f"the user may not {command} {name}: {required.advice}"
        if command is not None
        else f"there is no table {name}: run `kindledger migrate up`"
        for name, command in await connection.fetch(_DAEMON_TABLES, required.daemon_table_rights)
    ]
    statements: dict[str, TableStatements] = {}
    for table in mapping.tables:
        types, table_faults = await _check_table(connection, mapping.schema, table, required)
        faults += table_faults
        if not table_faults:
            statements[table.name] = TableStatements(mapping.schema, table, types)
    if faults:
        raise ReconciliationError(
            f"the business database does not fit [reconcile]: {'; '.join(faults)}"
        )
    return statements


async def _check_table(
    connection: Connection, schema: str, table: BusinessTable, required: _RequiredRole
) -> tuple[dict[str, str], list[str]]:
    """Return the types of the table's columns, and the faults of the table."""
    full_name = f"{schema}.{table.name}"
    record = await connection.fetchrow(_TABLE, schema, table.name)
    if record is None:
        advice = "run `kindledger migrate up`, or correct reconcile.tables"
        return {}, [f"there is no table {full_name}: {advice}"]
    if not record["usable"]:
        return {}, [f"the user may not use the schema {schema}: grant it the role {required.role}"]
    columns = {column["name"]: column for column in await connection.fetch(_COLUMNS, record["oid"])}
    faults = list(_column_faults(full_name, table, columns, required))
    if record["hides_rows"]:
        faults += await _row_security_faults(connection, schema, table, required)
    types = {
        name: f"{quoted(column['type_schema'])}.{quoted(column['type'])}"
        for name, column in columns.items()
    }
    return types, faults


def _column_faults(
    full_name: str,
    table: BusinessTable,
    columns: dict[str, asyncpg.Record],
    required: _RequiredRole,
) -> Iterator[str]:
    for name in table.columns:
        if name not in columns:
            yield f"{full_name} has no column {name}"
        elif not columns[name]["readable"]:
            yield f"the user may not SELECT {full_name}.{name}: {required.advice}"
        elif name in required.updated_columns(table) and not columns[name]["writable"]:
            yield f"the user may not UPDATE {full_name}.{name}: {required.advice}"
    hash_column = columns.get(table.hash)
    if hash_column is not None and hash_column["type_name"] not in _HASH_TYPES:
        yield (
            f"{full_name}.{table.hash} is of type {hash_column['type_name']}: "
            "a hash column must be of type text, varchar or char"
        )


async def _row_security_faults(
    connection: Connection, schema: str, table: BusinessTable, required: _RequiredRole
) -> list[str]:
    """Return a fault for each command for which no policy lets the user see the rows."""
    commands = ("SELECT", "UPDATE") if required.updated_columns(table) else ("SELECT",)
    return [
        f"row-level security of {schema}.{table.name} hides its rows: no policy lets the user "
        f"{command}; create one for the role {required.role}"
        for command in commands
        if not await connection.fetchval(_POLICY, schema, table.name, command)
    ]
