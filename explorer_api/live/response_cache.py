"""Answers kept in memory, and one computation where several clients ask the same."""

import time
from collections import OrderedDict
from collections.abc import Callable
from typing import NamedTuple, TypeVar

from msgspec import Struct

from explorer_api.http.responses import EncodedResponse
from explorer_api.live.heads import HeadSnapshot, HeadWatch

T = TypeVar("T")


class CacheHit(NamedTuple):
    """An answer that was kept, the template of its route, and where the ledger stands now."""

    route: str
    rendered: EncodedResponse
    standing: HeadSnapshot


class _CacheEntry(Struct):
    route: str
    rendered: EncodedResponse
    watch: HeadWatch
    version: str
    until: float | None

    def holds(self, standing: HeadSnapshot, now: float) -> bool:
        version = standing.chain if self.rendered.immutable else standing.version
        return self.version == version and (self.until is None or now < self.until)


class ResponseCache:
    """The answers that were asked for last, by raw path and query; together no more than so many bytes.

    A kept answer is given only while it is what would be computed: an immutable one while the chain is the same,
    another one while the head is, and is known not to be too old.
    """

    def __init__(self, max_bytes: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._max_bytes, self._clock = max_bytes, clock
        self._kept: OrderedDict[str, _CacheEntry] = OrderedDict()
        self.bytes = 0
        self.hits = 0
        self.misses = 0
        """Questions about a channel that were not answered from here: counted by `dispatch`, since others ask too."""

    def get(self, key: str) -> CacheHit | None:
        """The answer, if one is kept that holds."""
        kept = self._kept.get(key)
        if kept is None:
            return None
        standing = kept.watch.known if kept.rendered.immutable else kept.watch.current()
        if standing is None or not kept.holds(standing, self._clock()):
            return None
        self._kept.move_to_end(key)
        self.hits += 1
        return CacheHit(kept.route, kept.rendered, standing)

    def put(
        self,
        key: str,
        route: str,
        rendered: EncodedResponse,
        watch: HeadWatch,
        standing: HeadSnapshot,
    ) -> None:
        """Keeps what was computed for that standing, unless it must not be stored or is too large."""
        size = rendered.size + len(key)
        if rendered.etag is None or size > self._max_bytes // 4:
            return
        until = self._clock() + rendered.seconds if rendered.seconds is not None else None
        self._drop(key)
        version = standing.chain if rendered.immutable else standing.version
        self._kept[key] = _CacheEntry(route, rendered, watch, version, until)
        self.bytes += size
        while self.bytes > self._max_bytes:
            self._drop(next(iter(self._kept)))

    def _drop(self, key: str) -> None:
        kept = self._kept.pop(key, None)
        if kept is not None:
            self.bytes -= kept.rendered.size + len(key)
