"""The metrics of reconciliation."""

from datetime import UTC, datetime, timedelta

import pytest

from reconciliation.reconciliation_metrics import RECONCILIATION_METRICS
from reconciliation.reconciliation_progress import ReconciliationProgress
from runtime.metrics import MetricCollector
from tests.eventually import eventually
from tests.reconciliation.block_builder import BlockBuilder, PlannedTransaction
from tests.reconciliation.gateway import Gateway
from tests.reconciliation.growing_ledger import CHANNEL, GrowingLedger
from tests.reconciliation.running import END_SESSIONS, POOL_OPTIONS, reconciling

BLOCK, IDS = (builder := BlockBuilder()).next_block([PlannedTransaction()] * 3)
CHAIN = [builder.genesis, BLOCK]
HOUR_S = 3600.0


def metrics(progress: ReconciliationProgress) -> dict[str, dict[str, float]]:
    """Return the samples by name without the prefix, then by their label beside the channel."""
    samples: dict[str, dict[str, float]] = {}
    for metric in MetricCollector(RECONCILIATION_METRICS, "channel", {CHANNEL: progress}).collect():
        for sample in metric.samples:
            (label,) = [value for name, value in sample.labels.items() if name != "channel"] or [""]
            name = sample.name.removeprefix("kindledger_")
            samples.setdefault(name, {})[label] = sample.value
    return samples


async def test_the_metrics_show_pending_rows_and_open_discrepancies(
    indexer_dsn: str, ledger: GrowingLedger, gateway: Gateway
) -> None:
    await gateway.open_campaign()
    await gateway.transaction(IDS[0])
    await gateway.donation(IDS[1])
    await gateway.transaction("f" * 64, created_at=datetime.now(UTC) - timedelta(seconds=HOUR_S))
    await gateway.transaction("pending-1")
    await ledger.commit(CHAIN)
    async with reconciling(indexer_dsn, ledger) as reconciler:
        progress = reconciler.progress

        def open_discrepancies() -> dict[str, float]:
            return metrics(progress).get("reconciliation_open_discrepancies", {})

        assert "reconciliation_pending_rows" not in metrics(progress), (
            "unknown before the first sweep"
        )
        await eventually(
            open_discrepancies,
            lambda kinds: (kinds.get("missing_row"), kinds.get("not_on_ledger")) == (1, 1),
        )
        values = metrics(progress)
        assert sum(values["reconciliation_open_discrepancies"].values()) == 2
        assert len(values["reconciliation_open_discrepancies"]) == 6
        assert values["reconciliation_discrepancies_opened_total"] == {"": 2}
        assert values["reconciliation_pending_rows"] == {"transactions": 1, "donations": 0}
        assert values["reconciliation_overdue_rows"] == {"transactions": 1, "donations": 0}
        assert values["reconciliation_oldest_pending_seconds"] == {
            "transactions": pytest.approx(HOUR_S, abs=60),
            "donations": 0,
        }
        assert values["reconciliation_rows_without_hash"] == {"transactions": 1, "donations": 0}
        assert values["reconciliation_settled_rows_total"] == {"": 2}
        assert values["reconciliation_height_blocks"] == {"": len(CHAIN)}
        swept_at = values["reconciliation_last_sweep_timestamp_seconds"][""]
        assert abs(swept_at - datetime.now(UTC).timestamp()) < 60
        assert [state for state, on in values["reconciliation_state"].items() if on] == [
            "following"
        ]

        await gateway.connection.execute("DELETE FROM transactions WHERE tx_hash LIKE 'f%'")
        await eventually(open_discrepancies, lambda kinds: kinds["not_on_ledger"] == 0)
        assert metrics(progress)["reconciliation_pending_rows"]["transactions"] == 0
        assert metrics(progress)["reconciliation_oldest_pending_seconds"]["transactions"] == 0


async def test_the_metrics_show_connections_and_failures(
    indexer_dsn: str, ledger: GrowingLedger, gateway: Gateway
) -> None:
    unreachable = "postgresql://u@127.0.0.1:1/x"
    await ledger.commit(CHAIN)
    async with reconciling(indexer_dsn, ledger, replicas=[unreachable]) as reconciler:
        progress = reconciler.progress
        await eventually(lambda: progress.last_sweep_at, describe="the first sweep ends")
        values = metrics(progress)
        assert values["reconciliation_failures_total"] == {"": 0}
        assert 0 < values["postgres_connections"]["primary"] <= POOL_OPTIONS.pool_size
        assert values["postgres_max_connections"] == {
            "primary": POOL_OPTIONS.pool_size,
            "replica 1": POOL_OPTIONS.pool_size,
        }
        assert values["postgres_replica_available"] == {"replica 1": 0}
        assert "postgres_replica_lag_seconds" not in values, "the lag is unknown"
        await gateway.connection.execute(END_SESSIONS)
        await eventually(
            lambda: metrics(progress)["reconciliation_failures_total"][""],
            describe="a failure is counted",
        )
