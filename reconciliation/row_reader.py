"""Reads the business rows of one channel."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime

import asyncpg
from msgspec import Struct
from msgspec.structs import astuple

from ledger.position import BlockNumber
from reconciliation.comparison import ComparedRow
from reconciliation.connection import Connection
from reconciliation.hash_spellings import usual_spellings
from reconciliation.mapping import BusinessMapping, BusinessTable
from reconciliation.statements import TableStatements


class RowPeriod(Struct, frozen=True):
    """The rows of a time: created or confirmed from `since` on and before `until`.

    None is no bound. Rows that name one of the blocks `first` to `last` belong to it, too.
    """

    since: datetime | None
    until: datetime | None
    first: BlockNumber
    last: BlockNumber


class RowReader:
    """Reads rows from the primary, or by the connection that a method is given."""

    def __init__(
        self,
        pool: "asyncpg.Pool[asyncpg.Record]",
        business: BusinessMapping,
        statements: Mapping[str, TableStatements],
        grace_s: float,
    ) -> None:
        self._pool, self._tables, self._statements = pool, business.tables, statements
        self._first_parameters = (list(business.placeholders), grace_s)

    async def with_keys(self, table: BusinessTable, keys: Sequence[str]) -> list[ComparedRow]:
        """Return the rows of a table with these keys."""
        sql = self._statements[table.name].by_key
        return _rows(table, await self._pool.fetch(sql, *self._first_parameters, keys))

    async def with_hashes(self, hashes: Sequence[str]) -> list[ComparedRow]:
        """Return the rows of all tables with these hashes."""
        async with self._pool.acquire() as connection:
            return await self._with_hashes(connection, hashes)

    async def table_rows_with_hashes(
        self, connection: Connection, table: BusinessTable, hashes: Sequence[str]
    ) -> list[ComparedRow]:
        """Return the rows of one table with these hashes."""
        if not hashes:
            return []
        sql = self._statements[table.name].by_hash
        return _rows(table, await connection.fetch(sql, *self._first_parameters, hashes))

    async def pending_page(
        self, table: BusinessTable, after: str | None, limit: int
    ) -> list[ComparedRow]:
        """Return the rows with a hash that wait for the ledger, in the order of their keys.

        The page begins after the key `after`, or with the first row.
        """
        sql = self._statements[table.name].pending_page
        parameters = (*self._first_parameters, after, limit, table.pending)
        return _rows(table, await self._pool.fetch(sql, *parameters))

    async def page(
        self, connection: Connection, table: BusinessTable, after: str | None, limit: int
    ) -> list[ComparedRow]:
        """Return rows of the table in the order of their keys, beginning as in `pending_page`."""
        sql = self._statements[table.name].page
        return _rows(table, await connection.fetch(sql, *self._first_parameters, after, limit))

    async def period_page(
        self, table: BusinessTable, period: RowPeriod, after: str | None, limit: int
    ) -> list[ComparedRow]:
        """Return rows with a hash of a period, ordered and beginning as in `pending_page`."""
        sql = self._statements[table.name].period_page
        parameters = (*self._first_parameters, after, limit, *astuple(period))
        return _rows(table, await self._pool.fetch(sql, *parameters))

    async def ids_with_rows(self, tx_ids: Sequence[str]) -> set[str]:
        """Return those of the transaction ids that a row names, in any of the usual spellings."""
        async with self._pool.acquire() as connection:
            return await self.ids_with_rows_in(connection, tx_ids)

    async def ids_with_rows_in(self, connection: Connection, tx_ids: Sequence[str]) -> set[str]:
        """Return the same as `ids_with_rows`, read by this connection."""
        ids = {spelling: tx_id for tx_id in tx_ids for spelling in usual_spellings(tx_id)}
        rows = await self._with_hashes(connection, list(ids))
        return {ids[row.hash] for row in rows if row.hash is not None}

    async def _with_hashes(
        self, connection: Connection, hashes: Sequence[str]
    ) -> list[ComparedRow]:
        return [
            row
            for table in self._tables
            for row in await self.table_rows_with_hashes(connection, table, hashes)
        ]


def _rows(table: BusinessTable, records: Iterable[asyncpg.Record]) -> list[ComparedRow]:
    return [ComparedRow(table, *record) for record in records]
