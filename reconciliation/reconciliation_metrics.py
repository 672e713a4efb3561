"""What reconciliation tells Prometheus. Rows and discrepancies are as the last sweep found them."""

from datetime import UTC, datetime
from typing import Final

from prometheus_client.core import CounterMetricFamily

from reconciliation.reconciliation_progress import ReconciliationProgress
from reconciliation.reports import DiscrepancyKind, WaitingRows
from runtime.metrics import MetricDefinition, Value, one_hot, timestamp


def _tables(progress: ReconciliationProgress) -> dict[str, WaitingRows]:
    return (
        {each.table: each for each in progress.status.waiting}
        if progress.status is not None
        else {}
    )


def _oldest_s(waiting: WaitingRows) -> float | None:
    """None where the table does not say when its rows were made."""
    if not waiting.rows:
        return 0.0
    return (
        (datetime.now(UTC) - waiting.oldest).total_seconds() if waiting.oldest is not None else None
    )


def _open_discrepancies(progress: ReconciliationProgress) -> dict[str, Value]:
    if progress.status is None:
        return {}
    return dict.fromkeys(DiscrepancyKind, 0) | {
        count.kind: count.count for count in progress.status.discrepancies
    }


RECONCILIATION_METRICS: Final[tuple[MetricDefinition[ReconciliationProgress], ...]] = (
    MetricDefinition(
        "kindledger_reconciliation_state",
        "1 for what reconciliation of the channel is doing, 0 for every other state.",
        lambda progress: one_hot(progress.state),
        "state",
    ),
    MetricDefinition(
        "kindledger_reconciliation_height_blocks",
        "Blocks from 0 up to the highest one whose rows are settled.",
        lambda progress: progress.height,
    ),
    MetricDefinition(
        "kindledger_reconciliation_settled_rows_total",
        "Rows that this process settled.",
        lambda progress: progress.settled,
        family=CounterMetricFamily,
    ),
    MetricDefinition(
        "kindledger_reconciliation_failures_total",
        "How often reconciliation was held up and began again.",
        lambda progress: progress.failures,
        family=CounterMetricFamily,
    ),
    MetricDefinition(
        "kindledger_reconciliation_last_sweep_timestamp_seconds",
        "When the last sweep over the rows that wait ended, since 1970; absent before the first one of this process.",
        lambda progress: timestamp(progress.swept_at),
    ),
    MetricDefinition(
        "kindledger_reconciliation_pending_rows",
        "Rows with a hash that wait for the ledger.",
        lambda progress: {name: each.rows for name, each in _tables(progress).items()},
        "table",
    ),
    MetricDefinition(
        "kindledger_reconciliation_overdue_rows",
        "Those of them whose grace period is over.",
        lambda progress: {name: each.overdue for name, each in _tables(progress).items()},
        "table",
    ),
    MetricDefinition(
        "kindledger_reconciliation_oldest_pending_seconds",
        "Age of the oldest of them; 0 if there is none, absent if the table has no such column.",
        lambda progress: {name: _oldest_s(each) for name, each in _tables(progress).items()},
        "table",
    ),
    MetricDefinition(
        "kindledger_reconciliation_rows_without_hash",
        "Rows that wait for the gateway to write their hash.",
        lambda progress: {name: each.without_hash for name, each in _tables(progress).items()},
        "table",
    ),
    MetricDefinition(
        "kindledger_reconciliation_open_discrepancies",
        "Discrepancies between rows and ledger that are open.",
        _open_discrepancies,
        "kind",
    ),
    MetricDefinition(
        "kindledger_reconciliation_discrepancies_opened_total",
        "Discrepancies that this process found.",
        lambda progress: progress.opened,
        family=CounterMetricFamily,
    ),
    MetricDefinition(
        "kindledger_reconciliation_discrepancies_closed_total",
        "Discrepancies that this process found to be over.",
        lambda progress: progress.closed,
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
        "Those of them that are not in use.",
        lambda progress: {server.name: server.idle for server in progress.servers()},
        "server",
    ),
    MetricDefinition(
        "kindledger_postgres_max_connections",
        "Connections to each of the servers at most.",
        lambda progress: {server.name: progress.pool_size for server in progress.servers()},
        "server",
    ),
    MetricDefinition(
        "kindledger_postgres_replica_lag_seconds",
        "How far a replica is behind; absent while it is away or that is not known.",
        lambda progress: {
            server.name: server.lag_s for server in progress.servers() if server.name != "primary"
        },
        "server",
    ),
    MetricDefinition(
        "kindledger_postgres_replica_available",
        "1 while it is known how far a replica is behind, else 0.",
        lambda progress: {
            server.name: float(server.lag_s is not None)
            for server in progress.servers()
            if server.name != "primary"
        },
        "server",
    ),
)
"""Of the reconciliation of a channel."""
