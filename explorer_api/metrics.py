"""What the service counts and measures of itself, for Prometheus."""

from collections.abc import Callable, Iterable, Iterator
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from explorer_api.cache import AnswerCache
from explorer_api.channels import Channel
from explorer_api.shared_cache import SharedCache

_BUCKETS: Final = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS"})


class ApiMetrics:
    """Counts requests by route template. Labels are bounded: the templates, three methods and `other`, the statuses."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.registry = registry
        self._requests = Counter(
            "kindledger_api_requests_total",
            "Requests that were answered.",
            ("route", "method", "status"),
            registry=registry,
        )
        self._durations = Histogram(
            "kindledger_api_request_duration_seconds",
            "Time from a request's arrival to its answer; of a stream, to its end.",
            ("route",),
            buckets=_BUCKETS,
            registry=registry,
        )
        self.in_progress = Gauge(
            "kindledger_api_requests_in_progress", "Requests being answered, streams included.", registry=registry
        )
        self.streams = Gauge("kindledger_api_streams", "Streams that are open.", registry=registry)
        self.lagged = Counter(
            "kindledger_api_streams_lagged_total", "Streams closed because the client was too slow.", registry=registry
        )
        self.rate_limited = Counter(
            "kindledger_api_rate_limited_total", "Requests refused because of a client's rate.", registry=registry
        )
        self._counters: dict[tuple[str, str, int], Counter] = {}
        self._histograms: dict[str, Histogram] = {}

    def answered(self, route: str, method: str, status: int, seconds: float) -> None:
        """Counts an answer. Children are kept: looking them up by label takes longer than counting."""
        method = method if method in _METHODS else "other"
        key = (route, method, status)
        counter = self._counters.get(key)
        if counter is None:
            counter = self._counters[key] = self._requests.labels(route, method, str(status))
        counter.inc()
        histogram = self._histograms.get(route)
        if histogram is None:
            histogram = self._histograms[route] = self._durations.labels(route)
        histogram.observe(seconds)


class StateCollector(Collector):
    """Reads caches and heads when it is asked: nothing is pushed."""

    def __init__(
        self,
        cache: AnswerCache,
        shared: SharedCache | None,
        channels: Callable[[], Iterable[Channel]],
        clock: Callable[[], float],
    ) -> None:
        self._cache, self._shared, self._channels, self._clock = cache, shared, channels, clock

    def collect(self) -> Iterator[Metric]:
        """The metrics as they are now."""
        requests = CounterMetricFamily(
            "kindledger_api_cache_requests", "Questions to the caches of answers.", labels=("cache", "result")
        )
        requests.add_metric(("memory", "hit"), self._cache.hits)
        requests.add_metric(("memory", "miss"), self._cache.misses)
        if self._shared is not None:
            requests.add_metric(("redis", "hit"), self._shared.hits)
            requests.add_metric(("redis", "miss"), self._shared.misses)
            requests.add_metric(("redis", "error"), self._shared.errors)
        yield requests
        size = GaugeMetricFamily("kindledger_api_cache_bytes", "Bytes of answers kept in memory.")
        size.add_metric((), self._cache.bytes)
        yield size
        ages = GaugeMetricFamily(
            "kindledger_api_head_age_seconds", "Since when the channel's head was last read.", labels=("channel",)
        )
        heights = GaugeMetricFamily(
            "kindledger_api_channel_height", "Blocks of the channel that are shown.", labels=("channel",)
        )
        peers = GaugeMetricFamily(
            "kindledger_api_peer_height", "Blocks that a peer is known to have.", labels=("channel",)
        )
        for channel in self._channels():
            standing = channel.watch.known
            if standing is None:
                continue
            ages.add_metric((channel.name,), max(0.0, self._clock() - standing.read_at))
            heights.add_metric((channel.name,), standing.height)
            if standing.peer_height is not None:
                peers.add_metric((channel.name,), standing.peer_height)
        yield from (ages, heights, peers)
