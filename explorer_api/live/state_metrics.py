"""Metrics of the caches and the heads, read when Prometheus scrapes them."""

from collections.abc import Callable, Iterable, Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from explorer_api.http.compression import CompressedBodies
from explorer_api.live.channels import Channel
from explorer_api.live.redis_cache import RedisCache
from explorer_api.live.response_cache import ResponseCache


class StateCollector(Collector):
    """Collects the state of the response caches, and the head of each channel."""

    def __init__(
        self,
        response_cache: ResponseCache,
        compressed_bodies: CompressedBodies,
        redis_cache: RedisCache | None,
        channels: Callable[[], Iterable[Channel]],
        clock: Callable[[], float],
    ) -> None:
        self._response_cache, self._compressed_bodies = response_cache, compressed_bodies
        self._redis_cache = redis_cache
        self._channels, self._clock = channels, clock

    def collect(self) -> Iterator[Metric]:
        """Return the current metrics."""
        yield from self._cache_metrics()
        yield from self._head_metrics()

    def _cache_metrics(self) -> Iterator[Metric]:
        lookups = CounterMetricFamily(
            "kindledger_api_cache_requests",
            "Lookups in the response caches.",
            labels=("cache", "result"),
        )
        lookups.add_metric(("memory", "hit"), self._response_cache.hits)
        lookups.add_metric(("memory", "miss"), self._response_cache.misses)
        if self._redis_cache is not None:
            lookups.add_metric(("redis", "hit"), self._redis_cache.hits)
            lookups.add_metric(("redis", "miss"), self._redis_cache.misses)
            lookups.add_metric(("redis", "error"), self._redis_cache.errors)
        yield lookups
        size = GaugeMetricFamily(
            "kindledger_api_cache_bytes", "Bytes of responses cached in memory."
        )
        size.add_metric((), self._response_cache.bytes + self._compressed_bodies.bytes)
        yield size

    def _head_metrics(self) -> Iterator[Metric]:
        ages = GaugeMetricFamily(
            "kindledger_api_head_age_seconds",
            "Seconds since the channel's head was last read.",
            labels=("channel",),
        )
        heights = GaugeMetricFamily(
            "kindledger_api_channel_height",
            "Blocks of the channel that are shown.",
            labels=("channel",),
        )
        peers = GaugeMetricFamily(
            "kindledger_api_peer_height",
            "Blocks that a peer is known to have.",
            labels=("channel",),
        )
        agreed = GaugeMetricFamily(
            "kindledger_api_agreed_height",
            "Blocks of the channel that the required number of peers gave.",
            labels=("channel",),
        )
        for channel in self._channels():
            snapshot = channel.watch.latest
            if snapshot is None:
                continue
            ages.add_metric((channel.name,), max(0.0, self._clock() - snapshot.read_at))
            heights.add_metric((channel.name,), snapshot.height)
            agreed.add_metric((channel.name,), snapshot.agreed_height)
            if snapshot.peer_height is not None:
                peers.add_metric((channel.name,), snapshot.peer_height)
        yield from (ages, heights, agreed, peers)
