"""Answers kept in memory, and one computation where several clients ask the same."""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import Generic, NamedTuple, TypeVar

from msgspec import Struct

from explorer_api.answers import Rendered
from explorer_api.heads import HeadWatch, Standing

T = TypeVar("T")


class Recalled(NamedTuple):
    """An answer that was kept, the template of its route, and where the ledger stands now."""

    route: str
    rendered: Rendered
    standing: Standing


class _Kept(Struct):
    route: str
    rendered: Rendered
    watch: HeadWatch
    version: str
    until: float | None

    def holds(self, standing: Standing, now: float) -> bool:
        version = standing.chain if self.rendered.immutable else standing.version
        return self.version == version and (self.until is None or now < self.until)


class AnswerCache:
    """The answers that were asked for last, by raw path and query; together no more than so many bytes.

    A kept answer is given only while it is what would be computed: an immutable one while the chain is the same,
    another one while the head is, and is known not to be too old.
    """

    def __init__(self, max_bytes: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._max_bytes, self._clock = max_bytes, clock
        self._kept: OrderedDict[str, _Kept] = OrderedDict()
        self.bytes = 0
        self.hits = 0
        self.misses = 0
        """Questions about a channel that were not answered from here: counted by `dispatch`, since others ask too."""

    def get(self, key: str) -> Recalled | None:
        """The answer, if one is kept that holds."""
        kept = self._kept.get(key)
        if kept is None:
            return None
        standing = kept.watch.known if kept.rendered.immutable else kept.watch.current()
        if standing is None or not kept.holds(standing, self._clock()):
            return None
        self._kept.move_to_end(key)
        self.hits += 1
        return Recalled(kept.route, kept.rendered, standing)

    def put(self, key: str, route: str, rendered: Rendered, watch: HeadWatch, standing: Standing) -> None:
        """Keeps what was computed for that standing, unless it must not be stored or is too large."""
        size = rendered.size + len(key)
        if rendered.etag is None or size > self._max_bytes // 4:
            return
        until = self._clock() + rendered.seconds if rendered.seconds is not None else None
        self._drop(key)
        version = standing.chain if rendered.immutable else standing.version
        self._kept[key] = _Kept(route, rendered, watch, version, until)
        self.bytes += size
        while self.bytes > self._max_bytes:
            self._drop(next(iter(self._kept)))

    def _drop(self, key: str) -> None:
        kept = self._kept.pop(key, None)
        if kept is not None:
            self.bytes -= kept.rendered.size + len(key)


class Flights(Generic[T]):
    """Computes once what several ask for at the same time."""

    def __init__(self) -> None:
        self._flights: dict[tuple[str, str], asyncio.Future[T | None]] = {}

    async def once(self, key: tuple[str, str], compute: Callable[[], Awaitable[T]]) -> T:
        """The result of `compute`, or of another one's that is under way; an error is shared too."""
        while True:
            flight = self._flights.get(key)
            if flight is None:
                return await self._compute(key, compute)
            result = await asyncio.shield(flight)
            if result is not None:
                return result  # else whose computation it was went away

    async def _compute(self, key: tuple[str, str], compute: Callable[[], Awaitable[T]]) -> T:
        flight: asyncio.Future[T | None] = asyncio.get_running_loop().create_future()
        self._flights[key] = flight
        try:
            result = await compute()
        except Exception as error:
            flight.set_exception(error)
            flight.exception()  # nobody need wait for it
            raise
        except BaseException:
            flight.set_result(None)
            raise
        else:
            flight.set_result(result)
            return result
        finally:
            del self._flights[key]
