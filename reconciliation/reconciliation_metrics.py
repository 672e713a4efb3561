"""The metrics of reconciliation. Rows and discrepancies are those of the last sweep."""

from datetime import UTC, datetime
from typing import Final

from prometheus_client.core import CounterMetricFamily

from ledger.mongodb.sync_state import DatabaseServer
from reconciliation.reconciliation_progress import ReconciliationProgress
from reconciliation.reports import DiscrepancyKind, WaitingRows
from runtime.metrics import MetricDefinition, MetricValue, one_hot, timestamp


def _waiting_rows(progress: ReconciliationProgress) -> dict[str, WaitingRows]:
    """Return the waiting rows of each table; nothing before the first sweep."""
    if progress.status is None:
        return {}
    return {waiting.table: waiting for waiting in progress.status.waiting}


def _oldest_s(waiting: WaitingRows) -> float | None:
    """Return the age of the oldest waiting row; None if the table has no column for it."""
    if not waiting.rows:
        return 0.0
    if waiting.oldest is None:
        return None
    return (datetime.now(UTC) - waiting.oldest).total_seconds()


def _open_discrepancies(progress: ReconciliationProgress) -> dict[str, MetricValue]:
    """Return the number of open discrepancies of each kind; nothing before the first sweep."""
    if progress.status is None:
        return {}
    return dict.fromkeys(DiscrepancyKind, 0) | {
        count.kind: count.count for count in progress.status.discrepancies
    }


def _replicas(progress: ReconciliationProgress) -> list[DatabaseServer]:
    return [server for server in progress.servers() if server.name != "primary"]


RECONCILIATION_METRICS: Final[tuple[MetricDefinition[ReconciliationProgress], ...]] = (
    MetricDefinition(
        "kindledger_reconciliation_state",
        "1 for the state of the channel's reconciliation, 0 for every other state.",
        lambda progress: one_hot(progress.state),
        "state",
    ),
    MetricDefinition(
        "kindledger_reconciliation_height_blocks",
        "The number of the highest block whose rows are settled, plus one.",
        lambda progress: progress.height,
    ),
    MetricDefinition(
        "kindledger_reconciliation_settled_rows_total",
        "Rows that this process settled.",
        lambda progress: progress.settled_rows,
        family=CounterMetricFamily,
    ),
    MetricDefinition(
        "kindledger_reconciliation_failures_total",
        "How often reconciliation failed and started again.",
        lambda progress: progress.failures,
        family=CounterMetricFamily,
    ),
    MetricDefinition(
        "kindledger_reconciliation_last_sweep_timestamp_seconds",
        "The end of the last sweep over pending rows; absent before the first sweep of this "
        "process.",
        lambda progress: timestamp(progress.last_sweep_at),
    ),
    MetricDefinition(
        "kindledger_reconciliation_pending_rows",
        "Rows with a hash that wait for the ledger.",
        lambda progress: {name: each.rows for name, each in _waiting_rows(progress).items()},
        "table",
    ),
    MetricDefinition(
        "kindledger_reconciliation_overdue_rows",
        "Rows with a hash that wait for the ledger, and whose grace period is over.",
        lambda progress: {name: each.overdue for name, each in _waiting_rows(progress).items()},
        "table",
    ),
    MetricDefinition(
        "kindledger_reconciliation_oldest_pending_seconds",
        "Age of the oldest row with a hash that waits for the ledger; 0 if no row waits, absent if "
        "the table has no column for it.",
        lambda progress: {name: _oldest_s(each) for name, each in _waiting_rows(progress).items()},
        "table",
    ),
    MetricDefinition(
        "kindledger_reconciliation_rows_without_hash",
        "Rows that wait for the gateway to write their hash.",
        lambda progress: {
            name: each.without_hash for name, each in _waiting_rows(progress).items()
        },
        "table",
    ),
    MetricDefinition(
        "kindledger_reconciliation_open_discrepancies",
        "Open discrepancies between rows and ledger.",
        _open_discrepancies,
        "kind",
    ),
    MetricDefinition(
        "kindledger_reconciliation_discrepancies_opened_total",
        "Discrepancies that this process opened.",
        lambda progress: progress.opened_discrepancies,
        family=CounterMetricFamily,
    ),
    MetricDefinition(
        "kindledger_reconciliation_discrepancies_closed_total",
        "Discrepancies that this process closed.",
        lambda progress: progress.closed_discrepancies,
        family=CounterMetricFamily,
    ),
    MetricDefinition(
        "kindledger_postgres_connections",
        "Open connections to a server of the business database.",
        lambda progress: {server.name: server.connections for server in progress.servers()},
        "server",
    ),
    MetricDefinition(
        "kindledger_postgres_idle_connections",
        "Open connections to a server of the business database that are not in use.",
        lambda progress: {server.name: server.idle for server in progress.servers()},
        "server",
    ),
    MetricDefinition(
        "kindledger_postgres_max_connections",
        "The limit of connections to a server of the business database.",
        lambda progress: {server.name: progress.pool_size for server in progress.servers()},
        "server",
    ),
    MetricDefinition(
        "kindledger_postgres_replica_lag_seconds",
        "How far a replica is behind the primary; absent while the replica is unavailable.",
        lambda progress: {server.name: server.lag_s for server in _replicas(progress)},
        "server",
    ),
    MetricDefinition(
        "kindledger_postgres_replica_available",
        "1 while a replica is available and its lag is known, else 0.",
        lambda progress: {
            server.name: float(server.lag_s is not None) for server in _replicas(progress)
        },
        "server",
    ),
)
"""The metrics of one channel's reconciliation."""
