"""Where reconciliation of a channel stands, by what PostgreSQL holds: for operators, without a daemon."""

from typing import Final

from indexer.reconcile import discrepancies
from indexer.reconcile.catalogue import statements_for
from indexer.reconcile.mapping import Mapping
from indexer.reconcile.servers import Connection
from ledger.business import BusinessStanding, WaitingRows

_CURSOR: Final = "SELECT height, audited_height, unusable_ids, updated_at FROM ledger_cursor WHERE channel = $1"


async def standing(connection: Connection, channel: str, business: Mapping, grace_s: float) -> BusinessStanding:
    """Reads it at one moment. Raises `ReconciliationError` where the tables do not fit the mapping."""
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        statements = await statements_for(connection, business, settling=False)
        height, audited, unusable, moved = await connection.fetchrow(_CURSOR, channel) or (0, 0, 0, None)
        waiting = []
        for table in business.tables:
            if table.status is not None:
                parameters = (list(business.placeholders), grace_s, table.pending)
                counted = await connection.fetchrow(statements[table.name].count_pending, *parameters)
                waiting.append(WaitingRows(table.name, *(counted or ())))
        counts = await discrepancies.counts(connection, channel)
        return BusinessStanding(height, audited, unusable, moved, waiting, counts)
