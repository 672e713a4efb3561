"""Where reconciliation of a channel stands, by what PostgreSQL holds: for operators, without a daemon."""

from datetime import datetime
from typing import Final

from msgspec import Struct

from indexer.reconcile import discrepancies
from indexer.reconcile.catalogue import statements_for
from indexer.reconcile.mapping import Mapping
from indexer.reconcile.servers import Connection

_CURSOR: Final = "SELECT height, audited_height, unusable_ids, updated_at FROM ledger_cursor WHERE channel = $1"


class Waiting(Struct, frozen=True, rename="camel"):
    """Rows of a table that are not settled. Those without a hash wait for the gateway, the others for the ledger.

    `overdue` are those of the others whose grace period is over; `oldest` is when the first of the others was made.
    """

    table: str
    rows: int
    overdue: int
    oldest: datetime | None
    without_hash: int


class Standing(Struct, frozen=True, rename="camel"):
    """Rows that blocks below `height` name are settled; those below `audited_height` were looked for.

    `unusable_ids` counts ids of the ledger that no row can have. `moved_at` is None before the first block.
    """

    height: int
    audited_height: int
    unusable_ids: int
    moved_at: datetime | None
    waiting: list[Waiting]
    discrepancies: list[discrepancies.Count]


async def standing(connection: Connection, channel: str, business: Mapping, grace_s: float) -> Standing:
    """Reads it at one moment. Raises `ReconciliationError` where the tables do not fit the mapping."""
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        statements = await statements_for(connection, business)
        height, audited, unusable, moved = await connection.fetchrow(_CURSOR, channel) or (0, 0, 0, None)
        waiting = []
        for table in business.tables:
            if table.status is not None:
                parameters = (list(business.placeholders), grace_s, table.pending)
                counted = await connection.fetchrow(statements[table.name].count_pending, *parameters)
                waiting.append(Waiting(table.name, *(counted or ())))
        counts = await discrepancies.counts(connection, channel)
        return Standing(height, audited, unusable, moved, waiting, counts)
