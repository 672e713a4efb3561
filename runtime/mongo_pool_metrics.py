"""Metrics of connection pools: how many connections to MongoDB are open, and how many are used."""

from collections import Counter
from collections.abc import Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from pymongo import monitoring


class MongoPoolMetrics(monitoring.ConnectionPoolListener, Collector):
    """Counts the connections of one client, which has a pool for each member of the replica set."""

    def __init__(self) -> None:
        self._open: Counter[str] = Counter()
        self._in_use: Counter[str] = Counter()
        self._refused: Counter[str] = Counter()

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics with their present values."""
        families = (
            (
                GaugeMetricFamily,
                "kindledger_mongodb_connections",
                "Open connections to MongoDB.",
                self._open,
            ),
            (
                GaugeMetricFamily,
                "kindledger_mongodb_used_connections",
                "Connections to MongoDB that carry out an operation.",
                self._in_use,
            ),
            (
                CounterMetricFamily,
                "kindledger_mongodb_refused_connections_total",
                "Operations that failed because they got no connection.",
                self._refused,
            ),
        )
        for family, name, help_text, counts in families:
            metric = family(name, help_text, labels=("server",))
            for server in self._open:
                metric.add_metric((server,), counts[server])
            yield metric

    def pool_created(self, event: monitoring.PoolCreatedEvent) -> None:
        """Export the member from now on, even without a connection."""
        self._open[_server(event.address)] += 0

    def connection_created(self, event: monitoring.ConnectionCreatedEvent) -> None:
        """Count one more open connection."""
        self._open[_server(event.address)] += 1

    def connection_closed(self, event: monitoring.ConnectionClosedEvent) -> None:
        """Count one open connection fewer."""
        self._open[_server(event.address)] -= 1

    def connection_checked_out(self, event: monitoring.ConnectionCheckedOutEvent) -> None:
        """Count one more used connection: an operation begins."""
        self._in_use[_server(event.address)] += 1

    def connection_checked_in(self, event: monitoring.ConnectionCheckedInEvent) -> None:
        """Count one used connection fewer: an operation is done."""
        self._in_use[_server(event.address)] -= 1

    def connection_check_out_failed(self, event: monitoring.ConnectionCheckOutFailedEvent) -> None:
        """Count an operation that failed because it got no connection."""
        self._refused[_server(event.address)] += 1

    def pool_ready(self, event: monitoring.PoolReadyEvent) -> None:
        """Ignore the event."""

    def pool_cleared(self, event: monitoring.PoolClearedEvent) -> None:
        """Ignore the event: the pool closes each connection too, which is counted."""

    def pool_closed(self, event: monitoring.PoolClosedEvent) -> None:
        """Ignore the event."""

    def connection_ready(self, event: monitoring.ConnectionReadyEvent) -> None:
        """Ignore the event."""

    def connection_check_out_started(
        self, event: monitoring.ConnectionCheckOutStartedEvent
    ) -> None:
        """Ignore the event."""


def _server(address: tuple[str, int | None]) -> str:
    return ":".join(map(str, address))
