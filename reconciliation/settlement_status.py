"""Reads the status of a channel's settlement from PostgreSQL, without the daemon."""

from typing import Final

from reconciliation.connection import Connection
from reconciliation.discrepancies import count_open
from reconciliation.mapping import BusinessMapping
from reconciliation.reports import SettlementStatus, WaitingRows
from reconciliation.schema_check import checked_statements

_CURSOR: Final = (
    "SELECT height, audited_height, unusable_ids, updated_at FROM ledger_cursor WHERE channel = $1"
)
_NO_CURSOR: Final = (0, 0, 0, None)


async def read_settlement_status(
    connection: Connection, channel: str, business: BusinessMapping, grace_s: float
) -> SettlementStatus:
    """Return the settlement status of a channel, all of it read at one moment.

    Raises `ReconciliationError` if the tables do not fit the mapping.
    """
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        statements = await checked_statements(connection, business, settling=False)
        cursor = await connection.fetchrow(_CURSOR, channel) or _NO_CURSOR
        height, audited_height, unusable_ids, moved_at = cursor
        waiting = []
        for table in business.tables:
            if table.status is not None:
                counts = await connection.fetchrow(
                    statements[table.name].count_pending,
                    list(business.placeholders),
                    grace_s,
                    table.pending,
                )
                waiting.append(WaitingRows(table.name, *(counts or ())))
        discrepancies = await count_open(connection, channel)
    return SettlementStatus(height, audited_height, unusable_ids, moved_at, waiting, discrepancies)
