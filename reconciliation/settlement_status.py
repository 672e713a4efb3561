"""Where reconciliation of a channel stands, by what PostgreSQL holds: for operators, without a daemon."""

from typing import Final

from reconciliation import discrepancies
from reconciliation.mapping import BusinessMapping
from reconciliation.postgres_servers import Connection
from reconciliation.reports import SettlementStatus, WaitingRows
from reconciliation.schema_check import checked_statements

_CURSOR: Final = (
    "SELECT height, audited_height, unusable_ids, updated_at FROM ledger_cursor WHERE channel = $1"
)


async def read_settlement_status(
    connection: Connection, channel: str, business: BusinessMapping, grace_s: float
) -> SettlementStatus:
    """Reads it at one moment. Raises `ReconciliationError` where the tables do not fit the mapping."""
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        statements = await checked_statements(connection, business, settling=False)
        height, audited, unusable, moved = await connection.fetchrow(_CURSOR, channel) or (
            0,
            0,
            0,
            None,
        )
        waiting = []
        for table in business.tables:
            if table.status is not None:
                parameters = (list(business.placeholders), grace_s, table.pending)
                counted = await connection.fetchrow(
                    statements[table.name].count_pending, *parameters
                )
                waiting.append(WaitingRows(table.name, *(counted or ())))
        counts = await discrepancies.counts(connection, channel)
        return SettlementStatus(height, audited, unusable, moved, waiting, counts)
