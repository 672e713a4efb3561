"""How many connections to MongoDB there are, and how many are in use."""

from collections import Counter
from collections.abc import Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from pymongo import monitoring


class MongoConnections(monitoring.ConnectionPoolListener, Collector):
    """Listens to the pools of a client, one for each member of the replica set."""

    def __init__(self) -> None:
        self._open: Counter[str] = Counter()
        self._in_use: Counter[str] = Counter()
        self._refused: Counter[str] = Counter()

    def collect(self) -> Iterator[Metric]:
        """The metrics as they are now."""
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
                "Those of them that carry out an operation.",
                self._in_use,
            ),
            (
                CounterMetricFamily,
                "kindledger_mongodb_refused_connections_total",
                "How often an operation got no connection.",
                self._refused,
            ),
        )
        for family, name, text, counted in families:
            metric = family(name, text, labels=("server",))
            for server in self._open:
                metric.add_metric((server,), counted[server])
            yield metric

    def pool_created(self, event: monitoring.PoolCreatedEvent) -> None:
        """A member is known."""
        self._open[_server(event.address)] += 0

    def connection_created(self, event: monitoring.ConnectionCreatedEvent) -> None:
        """One more."""
        self._open[_server(event.address)] += 1

    def connection_closed(self, event: monitoring.ConnectionClosedEvent) -> None:
        """One less."""
        self._open[_server(event.address)] -= 1

    def connection_checked_out(self, event: monitoring.ConnectionCheckedOutEvent) -> None:
        """An operation begins."""
        self._in_use[_server(event.address)] += 1

    def connection_checked_in(self, event: monitoring.ConnectionCheckedInEvent) -> None:
        """An operation is done."""
        self._in_use[_server(event.address)] -= 1

    def connection_check_out_failed(self, event: monitoring.ConnectionCheckOutFailedEvent) -> None:
        """An operation failed for want of a connection."""
        self._refused[_server(event.address)] += 1

    def pool_ready(self, event: monitoring.PoolReadyEvent) -> None:
        """Counts nothing."""

    def pool_cleared(self, event: monitoring.PoolClearedEvent) -> None:
        """Counts nothing: each connection is closed too."""

    def pool_closed(self, event: monitoring.PoolClosedEvent) -> None:
        """Counts nothing."""

    def connection_ready(self, event: monitoring.ConnectionReadyEvent) -> None:
        """Counts nothing."""

    def connection_check_out_started(
        self, event: monitoring.ConnectionCheckOutStartedEvent
    ) -> None:
        """Counts nothing."""


def _server(address: tuple[str, int | None]) -> str:
    return ":".join(map(str, address))
