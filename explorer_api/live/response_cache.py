"""Responses cached in memory."""

import time
from collections import OrderedDict
from collections.abc import Callable

from msgspec import Struct

from explorer_api.http.responses import CacheHit, EncodedResponse
from explorer_api.live.heads import HeadSnapshot, HeadWatch


class _CacheEntry(Struct):
    route: str
    response: EncodedResponse
    watch: HeadWatch
    version: str
    expires_at: float | None

    def is_valid(self, snapshot: HeadSnapshot, now: float) -> bool:
        version = snapshot.chain if self.response.immutable else snapshot.content_version
        return self.version == version and (self.expires_at is None or now < self.expires_at)


class ResponseCache:
    """Caches the most recently used responses by raw path and query, up to `max_bytes` in total.

    A response is returned only while a new one would be equal: an immutable response while the
    chain stays the same, any other while the head and the agreed blocks stay the same and were read
    recently enough.
    """

    def __init__(self, max_bytes: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._max_bytes, self._clock = max_bytes, clock
        self._entries: OrderedDict[str, _CacheEntry] = OrderedDict()
        self.bytes = 0
        self.hits = 0
        self.misses = 0
        """Requests about a channel without a hit: the dispatcher counts them, since the middleware
        looks up the paths of all requests."""

    def get(self, key: str) -> CacheHit | None:
        """Return the response to the raw path and query, if a valid one is cached."""
        entry = self._entries.get(key)
        if entry is None:
            return None
        snapshot = entry.watch.latest if entry.response.immutable else entry.watch.current()
        if snapshot is None or not entry.is_valid(snapshot, self._clock()):
            return None
        self._entries.move_to_end(key)
        self.hits += 1
        return CacheHit(entry.route, entry.response, snapshot.headers)

    def put(
        self,
        key: str,
        route: str,
        response: EncodedResponse,
        watch: HeadWatch,
        snapshot: HeadSnapshot,
    ) -> None:
        """Cache the response computed for the snapshot, unless it is not cacheable or too large."""
        size = response.size + len(key)
        if response.etag is None or size > self._max_bytes // 4:
            return
        expires_at = self._clock() + response.seconds if response.seconds is not None else None
        self._drop(key)
        version = snapshot.chain if response.immutable else snapshot.content_version
        self._entries[key] = _CacheEntry(route, response, watch, version, expires_at)
        self.bytes += size
        while self.bytes > self._max_bytes:
            self._drop(next(iter(self._entries)))

    def _drop(self, key: str) -> None:
        entry = self._entries.pop(key, None)
        if entry is not None:
            self.bytes -= entry.response.size + len(key)
