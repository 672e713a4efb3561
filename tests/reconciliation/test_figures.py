"""What Prometheus learns of business rows."""

from datetime import UTC, datetime, timedelta

import pytest

from reconciliation.reconciliation_metrics import RECONCILIATION_METRICS
from reconciliation.reconciliation_progress import ReconciliationProgress
from runtime.metrics import MetricCollector
from tests.reconciliation.pen import Draft, Pen
from tests.reconciliation.support import BOUNDS, CHANNEL, Gateway, GrowingLedger, reconciling, until
from tests.reconciliation.test_hindrances import END_SESSIONS

BLOCK, IDS = (pen := Pen()).block([Draft()] * 3)
CHAIN = [pen.genesis, BLOCK]
HOUR_S = 3600.0


def figures(progress: ReconciliationProgress) -> dict[str, dict[str, float]]:
    """By the name of the sample without the prefix, then by its label other than the channel."""
    found: dict[str, dict[str, float]] = {}
    for metric in MetricCollector(RECONCILIATION_METRICS, "channel", {CHANNEL: progress}).collect():
        for sample in metric.samples:
            (label,) = [value for name, value in sample.labels.items() if name != "channel"] or [""]
            found.setdefault(sample.name.removeprefix("kindledger_"), {})[label] = sample.value
    return found


async def test_rows_that_wait_and_what_is_open(
    indexer_dsn: str, ledger: GrowingLedger, gateway: Gateway
) -> None:
    await gateway.open_campaign()
    await gateway.transaction(IDS[0])
    await gateway.donation(IDS[1])
    await gateway.transaction("f" * 64, created_at=datetime.now(UTC) - timedelta(seconds=HOUR_S))
    await gateway.transaction("pending-1")
    await ledger.commit(CHAIN)
    async with reconciling(indexer_dsn, ledger) as part:
        progress = part.progress

        async def seen() -> bool:
            kinds = figures(progress).get("reconciliation_open_discrepancies", {})
            return (kinds.get("missing_row"), kinds.get("not_on_ledger")) == (1, 1)

        assert "reconciliation_pending_rows" not in figures(progress), (
            "not known before the first sweep"
        )
        await until(seen)
        now = figures(progress)
        assert sum(now["reconciliation_open_discrepancies"].values()) == 2
        assert len(now["reconciliation_open_discrepancies"]) == 6
        assert now["reconciliation_discrepancies_opened_total"] == {"": 2}
        assert now["reconciliation_pending_rows"] == {"transactions": 1, "donations": 0}
        assert now["reconciliation_overdue_rows"] == {"transactions": 1, "donations": 0}
        assert now["reconciliation_oldest_pending_seconds"] == {
            "transactions": pytest.approx(HOUR_S, abs=60),
            "donations": 0,
        }
        assert now["reconciliation_rows_without_hash"] == {"transactions": 1, "donations": 0}
        assert now["reconciliation_settled_rows_total"] == {"": 2}
        assert now["reconciliation_height_blocks"] == {"": len(CHAIN)}
        assert (
            abs(
                now["reconciliation_last_sweep_timestamp_seconds"][""]
                - datetime.now(UTC).timestamp()
            )
            < 9
        )
        assert [state for state, on in now["reconciliation_state"].items() if on] == ["following"]

        await gateway.connection.execute("DELETE FROM transactions WHERE tx_hash LIKE 'f%'")

        async def closed() -> bool:
            return figures(progress)["reconciliation_open_discrepancies"]["not_on_ledger"] == 0

        await until(closed)
        assert figures(progress)["reconciliation_pending_rows"]["transactions"] == 0
        assert figures(progress)["reconciliation_oldest_pending_seconds"]["transactions"] == 0


async def test_connections_and_failures(
    indexer_dsn: str, ledger: GrowingLedger, gateway: Gateway
) -> None:
    nowhere = "postgresql://u@127.0.0.1:1/x"
    await ledger.commit(CHAIN)
    async with reconciling(indexer_dsn, ledger, replicas=[nowhere]) as part:

        async def swept() -> bool:
            return part.progress.swept_at is not None

        await until(swept)
        now = figures(part.progress)
        assert now["reconciliation_failures_total"] == {"": 0}
        assert 0 < now["postgres_connections"]["primary"] <= BOUNDS.pool_size
        assert now["postgres_max_connections"] == {
            "primary": BOUNDS.pool_size,
            "replica 1": BOUNDS.pool_size,
        }
        assert now["postgres_replica_available"] == {"replica 1": 0}
        assert "postgres_replica_lag_seconds" not in now, "not known"
        await gateway.connection.execute(END_SESSIONS)

        async def failed() -> bool:
            return figures(part.progress)["reconciliation_failures_total"][""] > 0

        await until(failed)
