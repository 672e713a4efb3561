"""Metrics of requests and streams, for Prometheus."""

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Final

from prometheus_client import CollectorRegistry, Gauge
from prometheus_client import Counter as CounterMetric
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from runtime.histogram import Histogram

_BUCKETS: Final = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS"})


class ApiMetrics(Collector):
    """Counts requests by route template, method and status.

    The labels have few values: the templates, three methods and `other`, and the statuses. Requests
    are counted in plain numbers, which are read at each scrape: counters of the Prometheus client
    use locks, and take longer than a response from memory.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self.registry = registry
        self.in_progress = 0
        self._requests: Counter[tuple[str, str, int]] = Counter()
        self._durations: dict[str, Histogram] = {}
        registry.register(self)
        self.streams = Gauge("kindledger_api_streams", "Streams that are open.", registry=registry)
        self.lagged = CounterMetric(
            "kindledger_api_streams_lagged_total",
            "Streams closed because the client was too slow.",
            registry=registry,
        )
        self.rate_limited = CounterMetric(
            "kindledger_api_rate_limited_total",
            "Requests refused because of a client's rate.",
            registry=registry,
        )
        self.index_waits = CounterMetric(
            "kindledger_api_index_waits_total",
            "Requests refused with 503 because an index that they need is not built yet.",
            registry=registry,
        )

    def count_response(self, route: str, method: str, status: int, seconds: float) -> None:
        """Count a response that took `seconds`."""
        self._requests[route, method if method in _METHODS else "other", status] += 1
        durations = self._durations.get(route)
        if durations is None:
            durations = self._durations[route] = Histogram(_BUCKETS)
        durations.observe(seconds)

    def describe(self) -> Iterable[Metric]:
        """Return the metrics, so that the registry can find them by name."""
        return self.collect()

    def collect(self) -> Iterator[Metric]:
        """Return the current metrics."""
        requests = CounterMetricFamily(
            "kindledger_api_requests_total",
            "Requests that have ended.",
            labels=("route", "method", "status"),
        )
        for (route, method, status), count in self._requests.items():
            requests.add_metric((route, method, str(status)), count)
        yield requests
        durations = HistogramMetricFamily(
            "kindledger_api_request_duration_seconds",
            "Time from a request's arrival to its response; of a stream, to its end.",
            labels=("route",),
        )
        for route, histogram in self._durations.items():
            durations.add_metric((route,), histogram.cumulated(), histogram.sum)
        yield durations
        in_progress = GaugeMetricFamily(
            "kindledger_api_requests_in_progress", "Requests in progress, streams included."
        )
        in_progress.add_metric((), self.in_progress)
        yield in_progress
